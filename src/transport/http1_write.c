/* SPDX-License-Identifier: BSD-3-Clause */
/* transport/http1_write.c - the HTTP/1.1 writer: nothing gets onto a line that may not stand there
 */
#include "transport/http1.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

const char *http1_reason(int status)
{
	static const struct {
		int status;
		const char *reason;
	} rows[] = {
		{101, "Switching Protocols"},
		{200, "OK"},
		{201, "Created"},
		{202, "Accepted"},
		{204, "No Content"},
		{206, "Partial Content"},
		{301, "Moved Permanently"},
		{302, "Found"},
		{303, "See Other"},
		{304, "Not Modified"},
		{307, "Temporary Redirect"},
		{308, "Permanent Redirect"},
		{400, "Bad Request"},
		{401, "Unauthorized"},
		{403, "Forbidden"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{406, "Not Acceptable"},
		{408, "Request Timeout"},
		{409, "Conflict"},
		{410, "Gone"},
		{411, "Length Required"},
		{412, "Precondition Failed"},
		{413, "Content Too Large"},
		{415, "Unsupported Media Type"},
		{416, "Range Not Satisfiable"},
		{421, "Misdirected Request"},
		{426, "Upgrade Required"},
		{429, "Too Many Requests"},
		{431, "Request Header Fields Too Large"},
		{500, "Internal Server Error"},
		{501, "Not Implemented"},
		{502, "Bad Gateway"},
		{503, "Service Unavailable"},
		{504, "Gateway Timeout"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].status == status)
			return rows[i].reason;
	return "";
}

int http1_write_request(struct buffer *out, const char *method, const char *target)
{
	if (!http1_token_is_valid(method) || !*target)
		return -EINVAL;
	for (const char *c = target; *c; c++)
		if (*c <= 0x20 || *c >= 0x7f)
			return -EINVAL;
	return buffer_printf(out, "%s %s HTTP/1.1\r\n", method, target);
}

int http1_write_response(struct buffer *out, int status)
{
	if (status < 100 || status > 599)
		return -EINVAL;
	return buffer_printf(out, "HTTP/1.1 %d %s\r\n", status, http1_reason(status));
}

int http1_write_header(struct buffer *out, const char *name, const char *value)
{
	if (!http1_token_is_valid(name) || !http1_value_is_valid(value))
		return -EINVAL;
	return buffer_printf(out, "%s: %s\r\n", name, value);
}

int http1_write_length(struct buffer *out, uint64_t content_length)
{
	return buffer_printf(out, "Content-Length: %" PRIu64 "\r\n", content_length);
}

int http1_write_head_end(struct buffer *out)
{
	return buffer_append(out, "\r\n", 2);
}

int http1_write_chunk(struct buffer *out, const void *bytes, size_t length)
{
	int r;

	if (!length)
		return 0; /* an empty chunk would end the body */
	r = buffer_reserve(out, length + 32);
	if (r < 0)
		return r;
	buffer_printf(out, "%zx\r\n", length);
	buffer_append(out, bytes, length);
	return buffer_append(out, "\r\n", 2);
}
