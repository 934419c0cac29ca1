/* SPDX-License-Identifier: BSD-3-Clause */
/* transport/bootstrap_dns.c - ask a relay for an address when DNS is broken */
#include "transport/bootstrap_dns.h"
#include "base/cleanup.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bootstrap_dns {
	struct http_exchange *exchange;
	names_answer *answer;
	void *user;
	char name[URL_HOST_MAX];
};

int bootstrap_dns_parse(const void *json, size_t length, const char *name,
			struct address ret[static NAMES_ADDRESSES_MAX])
{
	json_t *root = json_loadb(json, length, JSON_REJECT_DUPLICATES, NULL), *list, *item;
	size_t index;
	int count = 0;

	if (!json_is_object(root)) {
		json_decref(root);
		return -EBADMSG;
	}
	list = json_object_get(root, name);
	json_array_foreach(list, index, item) {
		const char *text = json_string_value(item);

		if (text && count < NAMES_ADDRESSES_MAX &&
		    address_parse(text, strlen(text), &ret[count]) == 0)
			count++;
	}
	json_decref(root);
	return count ? count : -ENOENT;
}

static void on_response(void *user, const struct http_response *response, const struct error *cause)
{
	_cleanup_free_ struct bootstrap_dns *b = user;
	struct address addresses[NAMES_ADDRESSES_MAX];
	struct error err;
	int count;

	if (!response) {
		err = *cause;
	} else if (response->head->status != 200) {
		error_set(&err, -EPROTO, "it answered with status %d", response->head->status);
	} else {
		count = bootstrap_dns_parse(response->body, response->body_length, b->name,
					    addresses);
		if (count > 0) {
			b->answer(b->user, addresses, (size_t)count, NULL);
			return;
		}
		error_set(&err, count,
			  count == -ENOENT ? "it knows no address of %s"
					   : "its answer about %s is not a JSON object",
			  b->name);
	}
	error_wrap(&err, "bootstrap DNS");
	b->answer(b->user, NULL, 0, &err);
}

int bootstrap_dns_start(const struct dialer *dialer, const struct dial_options *relay,
			const char *name, names_answer *answer, void *user,
			struct bootstrap_dns **ret, struct error *err)
{
	struct http_request request = {.to = *relay, .body_limit = LIMIT_KEY_BODY};
	char target[URL_HOST_MAX + 32];
	struct bootstrap_dns *b;
	int r;

	if (!host_is_valid(name))
		return error_set(err, -EINVAL, "'%.64s' is not a valid host name", name);
	b = calloc(1, sizeof(*b));
	if (!b)
		return error_set(err, -ENOMEM, "out of memory");
	b->answer = answer;
	b->user = user;
	snprintf(b->name, sizeof(b->name), "%s", name);
	snprintf(target, sizeof(target), "/bootstrap-dns?q=%s", name);
	request.target = target;
	r = http_start(dialer, &request, on_response, b, &b->exchange, err);
	if (r < 0) {
		free(b);
		return r;
	}
	*ret = b;
	return 0;
}

void bootstrap_dns_cancel(struct bootstrap_dns *b)
{
	if (b)
		http_cancel(b->exchange);
	free(b);
}
