/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/http1.c - the HTTP/1.1 parser and writer
 *
 * Theory of operation
 *   The head is gathered line by line in `block` (each must end in CRLF), then cut up
 *   in place: names and values point into it. Bodies are never copied. Chunk sizes and
 *   trailers go through a machine of one byte at a time; trailers are checked, and
 *   dropped unless the owner wants them.
 */
#include "transport/http1.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A chunk's size line: hex digits and an extension that we skip. */
#define CHUNK_DIGITS_MAX 15 /* fits an int64_t */
#define CHUNK_LINE_MAX   255

enum http1_state {
	STATE_HEAD,
	STATE_LENGTH, /* body of a known length */
	STATE_CLOSE,  /* body until the peer closes */
	STATE_CHUNK_SIZE,
	STATE_CHUNK_EXTENSION,
	STATE_CHUNK_SIZE_LF,
	STATE_CHUNK_DATA,
	STATE_CHUNK_CR,
	STATE_CHUNK_LF,
	STATE_TRAILER_START,
	STATE_TRAILER_NAME,
	STATE_TRAILER_VALUE,
	STATE_TRAILER_LF,
	STATE_LAST_LF,
	STATE_END,
	STATE_DEAD,
};

/* is_token() - RFC 9110 §5.6.2 tchar */
static bool is_token(uint8_t c)
{
	/* A bit for each byte below 128: letters, digits, !#$%&'*+-.^_`|~ */
	static const uint32_t bits[4] = {0, 0x03ff6cfa, 0xc7fffffe, 0x57ffffff};

	return c < 128 && (bits[c / 32] >> c % 32 & 1);
}

/* is_value() - RFC 9110 §5.5: visible, space, tab, and bytes beyond ASCII */
static bool is_value(uint8_t c)
{
	return c == '\t' || (c >= 0x20 && c != 0x7f);
}

bool http1_token_is_valid(const char *text)
{
	if (!*text)
		return false;
	for (; *text; text++)
		if (!is_token((uint8_t)*text))
			return false;
	return true;
}

bool http1_value_is_valid(const char *text)
{
	for (; *text; text++)
		if (!is_value((uint8_t)*text))
			return false;
	return true;
}

static bool target_is_valid(const char *text)
{
	size_t length = 0;

	while (text[length] > 0x20 && text[length] < 0x7f)
		length++;
	return length && !text[length];
}

void http1_parser_init(struct http1_parser *p, bool response)
{
	*p = (struct http1_parser){
		.block = BUFFER_INIT(LIMIT_HTTP_HEADER),
		.trailer_block = BUFFER_INIT(LIMIT_HTTP_HEADER + 1),
		.response = response,
	};
}

void http1_parser_free(struct http1_parser *p)
{
	buffer_free_secret(&p->block);
	buffer_free_secret(&p->trailer_block);
	free(p->trailers);
	p->trailers = NULL;
	p->trailer_count = 0;
	p->state = STATE_DEAD;
}

void http1_parser_bodyless(struct http1_parser *p)
{
	p->bodyless = true;
}

static int refuse(struct http1_parser *p, int code, const char *why)
{
	p->error = why;
	p->state = STATE_DEAD;
	return code;
}

static int bad(struct http1_parser *p, const char *why)
{
	return refuse(p, -EBADMSG, why);
}

const char *http1_header(const struct http1_head *head, const char *name)
{
	for (size_t i = 0; i < head->header_count; i++)
		if (http1_name_is(head->headers[i].name, name))
			return head->headers[i].value;
	return NULL;
}

static bool list_has(const char *list, const char *token)
{
	size_t length = strlen(token);

	while (*list) {
		size_t item, end;

		list += strspn(list, " \t,");
		item = strcspn(list, ",");
		for (end = item; end && (list[end - 1] == ' ' || list[end - 1] == '\t'); end--)
			;
		if (end == length && strncasecmp(list, token, length) == 0)
			return true;
		list += item;
	}
	return false;
}

bool http1_header_has(const struct http1_head *head, const char *name, const char *token)
{
	for (size_t i = 0; i < head->header_count; i++)
		if (http1_name_is(head->headers[i].name, name) &&
		    list_has(head->headers[i].value, token))
			return true;
	return false;
}

/* parse_version() - "HTTP/1.0" or "HTTP/1.1"; the minor number or -EBADMSG */
static int parse_version(const char *text)
{
	if (strncmp(text, "HTTP/1.", 7) != 0 || (text[7] != '0' && text[7] != '1'))
		return -EBADMSG;
	return text[7] - '0';
}

/* parse_request_line() - method SP target SP version, single spaces */
static int parse_request_line(struct http1_parser *p, char *line)
{
	char *target = strchr(line, ' '), *version;

	if (!target)
		return bad(p, "request line without target");
	*target++ = 0;
	version = strchr(target, ' ');
	if (!version)
		return bad(p, "request line without version");
	*version++ = 0;
	if (!http1_token_is_valid(line))
		return bad(p, "bad method");
	if (!target_is_valid(target))
		return bad(p, "bad request target");
	p->head.minor = parse_version(version);
	if (p->head.minor < 0 || version[8])
		return bad(p, "not HTTP/1.0 or HTTP/1.1");
	p->head.method = line;
	p->head.target = target;
	return 0;
}

/* parse_status_line() - version SP 3DIGIT [SP reason] */
static int parse_status_line(struct http1_parser *p, char *line)
{
	const char *digits = line + 9;

	p->head.minor = parse_version(line);
	if (p->head.minor < 0 || line[8] != ' ')
		return bad(p, "not an HTTP/1 response");
	for (int i = 0; i < 3; i++) {
		if (digits[i] < '0' || digits[i] > '9')
			return bad(p, "bad status code");
		p->head.status = p->head.status * 10 + (digits[i] - '0');
	}
	if (p->head.status < 100 || p->head.status > 599)
		return bad(p, "bad status code");
	if (digits[3] && digits[3] != ' ')
		return bad(p, "bad status code");
	p->head.reason = digits[3] ? digits + 4 : digits + 3;
	if (!http1_value_is_valid(p->head.reason))
		return bad(p, "control byte in the reason");
	return 0;
}

static int parse_content_length(struct http1_parser *p, const char *value)
{
	int64_t length = 0;

	if (p->head.content_length >= 0)
		return bad(p, "repeated Content-Length");
	if (!*value || strlen(value) > 18)
		return bad(p, "bad Content-Length");
	for (; *value; value++) {
		if (*value < '0' || *value > '9')
			return bad(p, "bad Content-Length");
		length = length * 10 + (*value - '0');
	}
	p->head.content_length = length;
	return 0;
}

/* cut_header() - @line, which ends in a zero byte, as name and value; NULL: it has no colon */
static char *cut_header(char *line)
{
	char *colon = strchr(line, ':'), *value, *end;

	if (!colon)
		return NULL;
	*colon = 0;
	value = colon + 1 + strspn(colon + 1, " \t");
	for (end = value + strlen(value); end > value && (end[-1] == ' ' || end[-1] == '\t'); end--)
		;
	*end = 0;
	return value;
}

/* parse_header() - name ":" OWS value OWS; @line is cut up in place */
static int parse_header(struct http1_parser *p, char *line)
{
	struct http1_head *head = &p->head;
	const char *value;

	if (*line == ' ' || *line == '\t')
		return bad(p, "folded header line");
	value = cut_header(line);
	if (!value)
		return bad(p, "header line without colon");
	if (!http1_token_is_valid(line))
		return bad(p, "bad header name");
	if (!http1_value_is_valid(value))
		return bad(p, "control byte in a header");
	if (head->header_count == LIMIT_HTTP_HEADERS)
		return refuse(p, -EMSGSIZE, "too many headers");
	if (http1_name_is(line, "Content-Length") && parse_content_length(p, value) < 0)
		return -EBADMSG;
	if (http1_name_is(line, "Transfer-Encoding")) {
		if (head->chunked || strcasecmp(value, "chunked") != 0)
			return bad(p, "transfer coding other than chunked");
		head->chunked = true;
	}
	head->headers[head->header_count++] = (struct http1_header){line, value};
	return 0;
}

static int check_head(struct http1_parser *p)
{
	struct http1_head *head = &p->head;
	unsigned int hosts = 0;

	if (head->chunked && head->content_length >= 0)
		return bad(p, "both Content-Length and Transfer-Encoding");
	if (head->chunked && head->minor == 0)
		return bad(p, "Transfer-Encoding in HTTP/1.0");
	for (size_t i = 0; i < head->header_count; i++)
		hosts += http1_name_is(head->headers[i].name, "Host");
	if (!p->response && (hosts > 1 || (hosts == 0 && head->minor == 1)))
		return bad(p, "not exactly one Host");
	head->keep_alive = head->minor == 1 ? !http1_header_has(head, "Connection", "close")
					    : http1_header_has(head, "Connection", "keep-alive");
	head->upgrade =
		http1_header_has(head, "Connection", "upgrade") && http1_header(head, "Upgrade");
	return 0;
}

/* state_after_head() - How the body ends (RFC 9112 §6.3) */
static enum http1_state state_after_head(struct http1_parser *p)
{
	const struct http1_head *head = &p->head;
	bool bodyless = p->bodyless;

	p->bodyless = false;
	if (p->response &&
	    (bodyless || head->status < 200 || head->status == 204 || head->status == 304)) {
		p->bodyless = bodyless && head->status < 200; /* the final response follows */
		return STATE_END;
	}
	if (head->chunked) {
		p->digits = p->line_length = 0;
		p->left = 0;
		return STATE_CHUNK_SIZE;
	}
	if (head->content_length > 0) {
		p->left = head->content_length;
		return STATE_LENGTH;
	}
	return head->content_length == 0 || !p->response ? STATE_END : STATE_CLOSE;
}

static int parse_head(struct http1_parser *p)
{
	char *line = (char *)buffer_head(&p->block);
	char *end = line + p->block.length - 2; /* the empty line */
	bool first = true;
	int r;

	p->head = (struct http1_head){.content_length = -1};
	if (memchr(line, 0, p->block.length))
		return bad(p, "zero byte in the head");
	while (line < end) {
		char *next = memchr(line, '\n', (size_t)(end - line));

		next[-1] = 0; /* each line was seen to end in CRLF */
		if (!first)
			r = parse_header(p, line);
		else
			r = p->response ? parse_status_line(p, line) : parse_request_line(p, line);
		if (r < 0)
			return r;
		first = false;
		line = next + 1;
	}
	r = check_head(p);
	if (r < 0)
		return r;
	p->state = state_after_head(p);
	p->complete = true;
	return HTTP1_HEAD;
}

/* parse_trailers() - Of the block, whose bytes were checked one by one */
static int parse_trailers(struct http1_parser *p)
{
	char *line = (char *)buffer_head(&p->trailer_block);
	char *end = line + p->trailer_block.length;

	if (p->trailer_block.length == 0)
		return 0;
	p->trailers = calloc(LIMIT_HTTP_TRAILERS, sizeof(*p->trailers));
	if (!p->trailers)
		return refuse(p, -ENOMEM, "out of memory");
	while (line < end) {
		char *next = memchr(line, '\n', (size_t)(end - line));
		char *value;

		*next = 0;
		if (p->trailer_count == LIMIT_HTTP_TRAILERS)
			return refuse(p, -EMSGSIZE, "too many trailers");
		value = cut_header(line);
		p->trailers[p->trailer_count++] = (struct http1_header){line, value};
		line = next + 1;
	}
	return 0;
}

/* gather_head() - Move lines to the block until the empty one */
static int gather_head(struct http1_parser *p, const uint8_t *bytes, size_t length, size_t *used)
{
	if (p->complete) { /* of the last message */
		buffer_consume(&p->block, p->block.length);
		buffer_consume(&p->trailer_block, p->trailer_block.length);
		free(p->trailers);
		p->trailers = NULL;
		p->trailer_count = 0;
		p->begun = p->complete = false;
	}
	while (*used < length) {
		const uint8_t *at = bytes + *used;
		const uint8_t *newline = memchr(at, '\n', length - *used);
		size_t run = newline ? (size_t)(newline - at) + 1 : length - *used;
		const uint8_t *tail;
		int r = buffer_append(&p->block, at, run);

		if (r < 0)
			return refuse(p, r, "head too long");
		*used += run;
		if (!newline)
			break;
		tail = buffer_end(&p->block);
		if (p->block.length < 2 || tail[-2] != '\r')
			return bad(p, "line feed without carriage return");
		if (!p->begun && p->block.length == 2)
			return bad(p, "empty first line");
		/* A peer that speaks another protocol might never send an empty line. */
		if (!p->begun && p->response &&
		    (p->block.length < 7 || memcmp(buffer_head(&p->block), "HTTP/1.", 7) != 0))
			return bad(p, "not an HTTP/1 response");
		p->begun = true;
		if (p->block.length >= 4 && tail[-4] == '\r' && tail[-3] == '\n')
			return parse_head(p);
	}
	return HTTP1_MORE;
}

/* body_piece() - Hand out input, up to the end of the body or chunk */
static int body_piece(struct http1_parser *p, const uint8_t *bytes, size_t length, size_t *used,
		      enum http1_state after)
{
	size_t piece = length - *used;

	if (piece == 0)
		return HTTP1_MORE;
	if ((uint64_t)p->left < piece)
		piece = (size_t)p->left;
	p->body = bytes + *used;
	p->body_length = piece;
	p->left -= (int64_t)piece;
	*used += piece;
	if (p->left == 0)
		p->state = after;
	return HTTP1_BODY;
}

static int chunk_size_byte(struct http1_parser *p, uint8_t c)
{
	int digit = hex_digit((char)c);

	if (++p->line_length == CHUNK_LINE_MAX)
		return refuse(p, -EMSGSIZE, "chunk extension too long");
	if (p->state == STATE_CHUNK_SIZE && digit >= 0) {
		if (++p->digits > CHUNK_DIGITS_MAX)
			return bad(p, "chunk too long");
		p->left = p->left * 16 + digit;
		return 0;
	}
	if (p->digits == 0)
		return bad(p, "chunk without size");
	if (c == '\r') {
		p->state = STATE_CHUNK_SIZE_LF;
		p->digits = p->line_length = 0;
	} else if (p->state == STATE_CHUNK_EXTENSION ? is_value(c) : c == ';') {
		p->state = STATE_CHUNK_EXTENSION;
	} else {
		return bad(p, "bad chunk size");
	}
	return 0;
}

static int trailer_byte(struct http1_parser *p, uint8_t c)
{
	if (++p->left > LIMIT_HTTP_HEADER)
		return refuse(p, -EMSGSIZE, "trailers too long");
	if (p->keep_trailers && c != '\r' && buffer_append(&p->trailer_block, &c, 1) < 0)
		return refuse(p, -ENOMEM, "out of memory");
	if (p->state == STATE_TRAILER_START && c == '\r') {
		p->state = STATE_LAST_LF;
	} else if (p->state == STATE_TRAILER_START && is_token(c)) {
		p->state = STATE_TRAILER_NAME;
	} else if (p->state == STATE_TRAILER_NAME && c == ':') {
		p->state = STATE_TRAILER_VALUE;
	} else if (p->state == STATE_TRAILER_VALUE && c == '\r') {
		p->state = STATE_TRAILER_LF;
	} else if (!(p->state == STATE_TRAILER_NAME && is_token(c)) &&
		   !(p->state == STATE_TRAILER_VALUE && is_value(c))) {
		return bad(p, "bad trailer");
	}
	return 0;
}

static int framing_byte(struct http1_parser *p, uint8_t c)
{
	static const struct {
		uint8_t wanted, next;
		const char *error;
	} rows[] = {
		[STATE_CHUNK_SIZE_LF] = {'\n', STATE_CHUNK_DATA, "bad chunk size"},
		[STATE_CHUNK_CR] = {'\r', STATE_CHUNK_LF, "chunk longer than its size"},
		[STATE_CHUNK_LF] = {'\n', STATE_CHUNK_SIZE, "chunk longer than its size"},
		[STATE_TRAILER_LF] = {'\n', STATE_TRAILER_START, "bad trailer"},
		[STATE_LAST_LF] = {'\n', STATE_END, "bad trailer"},
	};

	if (p->state == STATE_CHUNK_SIZE || p->state == STATE_CHUNK_EXTENSION)
		return chunk_size_byte(p, c);
	if (p->state >= ARRAY_SIZE(rows) || !rows[p->state].wanted)
		return trailer_byte(p, c);
	if (c != rows[p->state].wanted)
		return bad(p, rows[p->state].error);
	if (p->state == STATE_TRAILER_LF && p->keep_trailers &&
	    buffer_append(&p->trailer_block, "\n", 1) < 0)
		return refuse(p, -ENOMEM, "out of memory");
	p->state = rows[p->state].next;
	if (p->state == STATE_END)
		return parse_trailers(p);
	if (p->state == STATE_CHUNK_DATA && p->left == 0)
		p->state = STATE_TRAILER_START;
	return 0;
}

int http1_parse(struct http1_parser *p, const uint8_t *bytes, size_t length, size_t *ret_used)
{
	size_t used = 0;
	int r = HTTP1_MORE;

	for (;;) {
		switch (p->state) {
		case STATE_HEAD:
			r = gather_head(p, bytes, length, &used);
			goto found;
		case STATE_LENGTH:
			r = body_piece(p, bytes, length, &used, STATE_END);
			goto found;
		case STATE_CHUNK_DATA:
			r = body_piece(p, bytes, length, &used, STATE_CHUNK_CR);
			goto found;
		case STATE_CLOSE:
			p->left = INT64_MAX;
			r = body_piece(p, bytes, length, &used, STATE_CLOSE);
			goto found;
		case STATE_END:
			p->state = STATE_HEAD;
			r = HTTP1_END;
			goto found;
		case STATE_DEAD:
			return -EBADMSG;
		default:
			if (used == length)
				goto found;
			r = framing_byte(p, bytes[used++]);
			if (r < 0)
				goto found;
		}
	}
found:
	*ret_used = used;
	return r;
}

int http1_parse_end(struct http1_parser *p)
{
	enum http1_state state = p->state;

	p->state = STATE_DEAD;
	if (state == STATE_CLOSE || state == STATE_END)
		return HTTP1_END;
	if (state == STATE_HEAD && (p->block.length == 0 || p->complete))
		return HTTP1_MORE;
	p->error = "connection closed in the middle of a message";
	return -EPIPE;
}

/* Writing: a byte that a line may not hold is refused */

const char *http1_reason(int status)
{
	static const struct {
		int status;
		const char *reason;
	} rows[] = {
		{101, "Switching Protocols"},
		{200, "OK"},
		{201, "Created"},
		{204, "No Content"},
		{301, "Moved Permanently"},
		{302, "Found"},
		{303, "See Other"},
		{307, "Temporary Redirect"},
		{308, "Permanent Redirect"},
		{400, "Bad Request"},
		{401, "Unauthorized"},
		{403, "Forbidden"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{409, "Conflict"},
		{413, "Content Too Large"},
		{426, "Upgrade Required"},
		{429, "Too Many Requests"},
		{431, "Request Header Fields Too Large"},
		{500, "Internal Server Error"},
		{501, "Not Implemented"},
		{502, "Bad Gateway"},
		{503, "Service Unavailable"},
		{508, "Loop Detected"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].status == status)
			return rows[i].reason;
	return "";
}

int http1_write_request(struct buffer *out, const char *method, const char *target)
{
	if (!http1_token_is_valid(method) || !target_is_valid(target))
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
	size_t name_length = strlen(name), length = strlen(value);
	int r;

	if (!http1_token_is_valid(name) || !http1_value_is_valid(value))
		return -EINVAL;
	r = buffer_reserve(out, name_length + length + 4);
	if (r < 0)
		return r;
	buffer_append(out, name, name_length);
	buffer_append(out, ": ", 2);
	buffer_append(out, value, length);
	return buffer_append(out, "\r\n", 2);
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

int http1_write_last_chunk(struct buffer *out, const struct http1_header *trailers, size_t count)
{
	int r = buffer_append(out, "0\r\n", 3);

	for (size_t i = 0; r == 0 && i < count; i++)
		r = http1_write_header(out, trailers[i].name, trailers[i].value);
	return r < 0 ? r : http1_write_head_end(out);
}
