/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/certs/dns_call.c - one change of a TXT record, by RFC 2136
 *
 * One connection: the question for the zone, unless it is known, then the update.
 */
#include "services/certs/certs.h"

#include "base/cleanup.h"
#include "base/cursor.h"
#include "base/secret.h"
#include "transport/loop_timer.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/rand.h>
#include <string.h>
#include <time.h>

#define CALL_TIME    (15 * NSEC_PER_SEC)
#define LENGTH_BYTES 2u

struct dns_call {
	LIST_ENTRY(dns_call) entry;
	struct services *services;
	struct app_call *connecting;
	struct stream *stream;
	struct loop_timer *timer;
	struct buffer input;
	struct dns_key key;
	struct dns_sent sent;
	uint16_t question; /* id; 0: the zone is known */
	char zone[DNS_NAME_TEXT], name[DNS_NAME_TEXT], value[UINT8_MAX + 1];
	bool remove;
	dns_call_done *done;
	void *user;
};

static void call_free(struct dns_call *c)
{
	LIST_REMOVE(c, entry);
	app_call_cancel(c->connecting);
	stream_close(c->stream);
	loop_timer_free(c->timer);
	buffer_free(&c->input);
	explicit_bzero(c, sizeof(*c));
	free(c);
}

static void finish(struct dns_call *c, const struct error *err)
{
	app_call_cancel(TAKE_PTR(c->connecting));
	stream_close(TAKE_PTR(c->stream));
	c->done(c->user, err);
	call_free(c);
}

static void fail(struct dns_call *c, int code, const char *what)
{
	struct error err = {0};

	error_set(&err, code, "the DNS server (TS_ACME_DNS_SERVER) %s", what);
	finish(c, &err);
}

/* send_next() - The question, or the update; 0 or negative errno */
static int send_next(struct dns_call *c)
{
	_cleanup_(buffer_free) struct buffer out = BUFFER_INIT(DNS_MESSAGE_MAX + LENGTH_BYTES);
	const struct dns_change change = {c->zone, c->name, c->value, c->remove};
	uint8_t length[LENGTH_BYTES] = {0};
	uint16_t id = 0;
	int r;

	while (id == 0)
		if (RAND_bytes((unsigned char *)&id, sizeof(id)) != 1)
			return -EIO;
	r = buffer_append(&out, length, sizeof(length));
	if (r == 0 && !c->zone[0]) {
		c->question = id;
		r = dns_zone_write(&out, id, c->name);
	} else if (r == 0) {
		c->question = 0;
		r = dns_update_write(&out, id, &change, &c->key, (uint64_t)time(NULL), &c->sent);
	}
	if (r < 0)
		return r;
	put_be16(buffer_head(&out), (uint16_t)(out.length - LENGTH_BYTES));
	return stream_write(c->stream, buffer_head(&out), out.length);
}

/* take() - One whole message; 1: the call is over */
static int take(struct dns_call *c, const uint8_t *message, size_t length)
{
	struct error err = {0};
	int r;

	if (c->question) {
		r = dns_zone_read(message, length, c->question, c->name, c->zone, &err);
		if (r == 0 && (r = send_next(c)) < 0)
			error_set_errno(&err, r, "write to the DNS server");
		if (r == 0)
			return 0;
	} else {
		r = dns_update_read(message, length, &c->key, &c->sent, (uint64_t)time(NULL), &err);
	}
	finish(c, r < 0 ? &err : NULL);
	return 1;
}

static void on_data(void *user, const uint8_t *bytes, size_t length)
{
	struct dns_call *c = user;

	if (buffer_append(&c->input, bytes, length) < 0) {
		fail(c, -EMSGSIZE, "sent too many bytes");
		return;
	}
	while (c->input.length >= LENGTH_BYTES) {
		struct cursor head = cursor_of(buffer_head(&c->input), c->input.length);
		uint16_t size = cursor_be16(&head);

		if (head.left < size)
			return;
		if (take(c, head.at, size))
			return;
		buffer_consume(&c->input, (size_t)size + LENGTH_BYTES);
	}
}

static void on_closed(void *user, const struct error *err)
{
	if (err)
		finish(user, err);
	else
		fail(user, -EPIPE, "closed the connection without an answer");
}

static void on_ready(void *user, struct stream *stream, int fd, const struct error *err)
{
	static const struct stream_events events = {
		.data = on_data,
		.closed = on_closed,
	};
	struct dns_call *c = user;
	int r;

	(void)fd;
	c->connecting = NULL;
	if (!stream) {
		finish(c, err);
		return;
	}
	c->stream = stream;
	stream_set_events(stream, &events, c);
	r = send_next(c);
	if (r < 0)
		fail(c, r,
		     r == -EINVAL ? "can't be asked: check the name of its key and the zone"
				  : "can't be written to");
	else
		stream_resume(stream);
}

static void on_late(void *user)
{
	fail(user, -ETIMEDOUT, "does not answer in time");
}

struct dns_call *dns_call_begin(struct services *services, const char *zone,
				const struct dns_change *change, const struct dns_key *key,
				dns_call_done *done, void *user)
{
	struct dns_call *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->services = services;
	LIST_INSERT_HEAD(&services->dns_calls, c, entry);
	c->key = *key;
	c->remove = change->remove;
	c->done = done;
	c->user = user;
	c->input = BUFFER_INIT(DNS_MESSAGE_MAX + LENGTH_BYTES);
	snprintf(c->zone, sizeof(c->zone), "%s", zone ?: "");
	snprintf(c->name, sizeof(c->name), "%s", change->name);
	snprintf(c->value, sizeof(c->value), "%s", change->value);
	if (loop_timer_create(services->loop, on_late, c, &c->timer) == 0)
		c->connecting = app_call_begin(
			services, services->serving,
			(unsigned int)services->serving->config.target_count + SERVING_DNS, false,
			on_ready, c);
	if (!c->connecting) {
		call_free(c);
		return NULL;
	}
	loop_timer_at(c->timer, clock_boottime() + CALL_TIME);
	return c;
}

void dns_call_cancel(struct dns_call *call)
{
	if (call)
		call_free(call);
}

void dns_calls_end(struct services *services)
{
	while (!LIST_EMPTY(&services->dns_calls))
		call_free(LIST_FIRST(&services->dns_calls));
}

/* --- The key --- */

/* take_secret() - The secret in base64, and the name */
static int take_key(const char *name, size_t name_length, const char *secret, size_t secret_length,
		    struct dns_key *ret, struct error *err)
{
	_cleanup_(buffer_free_secret) struct buffer bytes = BUFFER_INIT(DNS_SECRET_MAX);

	if (name_length == 0 || name_length >= sizeof(ret->name) ||
	    base64_decode(secret, secret_length, &bytes) < 0 || bytes.length == 0)
		return error_set(err, -EINVAL,
				 "TS_ACME_DNS_KEY is not NAME:SECRET with a secret in base64");
	*ret = (struct dns_key){.secret_length = bytes.length};
	memcpy(ret->name, name, name_length);
	memcpy(ret->secret, buffer_head(&bytes), bytes.length);
	return 0;
}

/* quoted() - The text in quotes behind @word in a file of BIND; its length, 0: none */
static size_t quoted(const char *text, const char *word, const char **ret)
{
	const char *at = strstr(text, word);
	size_t length;

	if (!at)
		return 0;
	at += strlen(word);
	at += strspn(at, " \t\r\n\"");
	length = strcspn(at, "\" \t\r\n;{");
	*ret = at;
	return length;
}

int dns_key_parse(const char *given, size_t length, struct dns_key *ret, struct error *err)
{
	_cleanup_(secret_string_free_at) char *text = strndup(given, length);
	const char *name = text, *secret = NULL, *algorithm = NULL, *colon;
	size_t name_length, secret_length, algorithm_length = 0;

	if (!text)
		return error_set(err, -ENOMEM, "out of memory");
	if (strchr(text, '{')) {
		name_length = quoted(text, "key", &name);
		secret_length = quoted(text, "secret", &secret);
		algorithm_length = quoted(text, "algorithm", &algorithm);
	} else {
		colon = strchr(text, ':');
		if (colon && strchr(colon + 1, ':')) {
			algorithm = text;
			algorithm_length = (size_t)(colon - text);
			name = colon + 1;
		}
		name_length = strcspn(name, ":");
		secret = name + name_length + (name[name_length] == ':');
		secret_length = strlen(secret);
	}
	if (algorithm_length && (algorithm_length != strlen("hmac-sha256") ||
				 strncasecmp(algorithm, "hmac-sha256", algorithm_length) != 0))
		return error_set(err, -EINVAL,
				 "the TSIG key of TS_ACME_DNS_KEY is for another algorithm than "
				 "hmac-sha256: make one with 'tsig-keygen NAME'");
	return take_key(name, name_length, secret ?: "", secret ? secret_length : 0, ret, err);
}
