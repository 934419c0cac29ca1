/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control/control_client.c - the control client on its connection
 *
 * Theory of operation
 *   core.c makes all decisions. client_pump() asks it for its next output and acts on it
 *   or reports it, until there is none; then one timer waits for its deadline. The
 *   pump runs after each event of the transport and, by the timer, after each call of
 *   the node, so no handler is ever called from within a call of the node. A handler
 *   may free the client: the pump then stops, and frees the memory on its way out.
 */
#include "control/client_internal.h"

#include "base/cleanup.h"
#include "base/limits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void client_pump(struct control_client *client);

static void on_timer(void *user)
{
	client_pump(user);
}

/* After a call of the node: think about it, but not in here. */
static void soon(struct control_client *client)
{
	if (!client->pumping)
		loop_timer_soon(client->timer);
}

/* --- Life --- */

int control_client_new(const struct control_options *options, struct control_client **ret,
		       struct error *err)
{
	struct control_client *client = calloc(1, sizeof(*client));
	int r;

	if (!client)
		return error_set(err, -ENOMEM, "control: out of memory");
	r = url_parse(options->server_url, &client->configured, err);
	if (r < 0) {
		error_wrap(err, "login server %s", options->server_url);
		goto bad_url;
	}
	if (loop_timer_create(options->loop, on_timer, client, &client->timer) < 0 ||
	    control_core_init(&client->core, options->netmap) < 0) {
		r = error_set(err, -ENOMEM, "control: out of memory");
		goto no_memory;
	}
	client->url = client->configured;
	url_authority(&client->url, client->authority);
	client->dialer = (struct dialer){
		.loop = options->loop,
		.sockets = options->sockets,
		.names = options->names,
		.tls = options->tls ? tls_context_hold(options->tls) : NULL,
		.proxy = options->proxy,
	};
	client->machine_key = options->machine_key;
	client->handler = options->handler;
	client->user = options->user;
	for (int i = 0; i < CONTROL_SLOT_COUNT; i++)
		client->slots[i] =
			(struct client_slot){.client = client, .slot = (enum control_slot)i};
	for (size_t i = 0; i < options->known_address_count && i < CLIENT_ADDRESSES_MAX; i++)
		client->addresses[client->address_count++] = options->known_addresses[i];
	memcpy(client->told, client->addresses, sizeof(client->told));
	client->told_count = client->address_count;
	*ret = client;
	return 0;
no_memory:
	loop_timer_free(client->timer);
bad_url:
	free(client);
	return r;
}

/* disconnect() - @why: for the calls under way; NULL: they are forgotten */
static void disconnect(struct control_client *client, const char *why)
{
	struct http2_client *http2 = TAKE_PTR(client->http2);

	http_cancel(client->key_fetch);
	client->key_fetch = NULL;
	ts2021_cancel(client->connecting);
	client->connecting = NULL;
	bootstrap_dns_cancel(client->bootstrap);
	client->bootstrap = NULL;
	client_answers_cancel(client, false);
	for (int i = 0; i < CONTROL_SLOT_COUNT; i++)
		client->slots[i].request = NULL;
	client_calls_end(client, why);
	http2_close(http2);
}

void control_client_free(struct control_client *client)
{
	if (!client)
		return;
	if (client->pumping) {
		client->freed = true;
		return;
	}
	client_answers_cancel(client, true);
	disconnect(client, NULL);
	loop_timer_free(client->timer);
	control_core_clear(&client->core);
	if (client->dialer.tls)
		tls_context_release(client->dialer.tls);
	free(client->last_ping_url);
	for (size_t i = 0; i < ARRAY_SIZE(client->noise_urls); i++)
		free(client->noise_urls[i]);
	secret_key_wipe(&client->machine_key);
	free(client);
}

/* --- The node's calls --- */

void control_client_set_identity(struct control_client *client, const struct secret_key *node_key,
				 const struct secret_key *old_key,
				 const struct public_key *disco_key,
				 const struct public_key *nl_key)
{
	control_core_set_keys(&client->core, node_key, old_key);
	client->core.disco_key = *disco_key;
	if (nl_key)
		client->core.registration.nl_key = *nl_key;
	soon(client);
}

int control_client_set_hostinfo(struct control_client *client, const struct tailcfg_hostinfo *info)
{
	soon(client);
	return control_core_set_hostinfo(&client->core, info);
}

int control_client_set_endpoints(struct control_client *client,
				 const struct tailcfg_endpoint *endpoints, size_t count)
{
	soon(client);
	return control_core_set_endpoints(&client->core, endpoints, count);
}

void control_client_start(struct control_client *client, const struct control_login *login)
{
	control_core_start(&client->core,
			   login->interactive ? REGISTRATION_INTERACTIVE
			   : login->unasked   ? REGISTRATION_UNASKED
					      : REGISTRATION_ASKED,
			   login->ephemeral);
	soon(client);
}

void control_client_give_auth_key(struct control_client *client, char *auth_key)
{
	registration_auth_key(&client->core.registration, auth_key);
	soon(client);
}

void control_client_key_stored(struct control_client *client, int error)
{
	registration_key_stored(&client->core.registration, error, clock_boottime(),
				client->core.random());
	soon(client);
}

void control_client_logout(struct control_client *client)
{
	control_core_logout(&client->core);
	soon(client);
}

void control_client_pause(struct control_client *client)
{
	control_core_pause(&client->core);
	soon(client);
}

void control_client_retry_now(struct control_client *client)
{
	control_core_retry_now(&client->core);
	soon(client);
}

void client_dial_now(struct control_client *client)
{
	client->core.retry_at = 0; /* the next wait is as long as ever */
	soon(client);
}

const struct netmap *control_client_netmap(const struct control_client *client)
{
	return client->core.netmap;
}

/* --- The link --- */

static void ask_for_key(struct control_client *client);

/* follow() - Ask where the answer points to; false: it points nowhere, or @err says why not */
static bool follow(struct control_client *client, const struct http1_head *head, struct error *err)
{
	struct url to;

	if (http_redirect(&client->url, head, &to, err) <= 0)
		return false;
	if (client->redirects++ == CLIENT_REDIRECTS_MAX) {
		error_set(err, -EPROTO, "HTTP %d, and it redirects again and again", head->status);
		return false;
	}
	client->url = to;
	url_authority(&client->url, client->authority);
	ask_for_key(client);
	return true;
}

static void on_key(void *user, const struct http_response *response, const struct error *failure)
{
	struct control_client *client = user;
	struct tailcfg_server_keys keys;
	struct error err = {0};
	bool good = false;

	client->key_fetch = NULL;
	client->pumping = true;
	if (failure)
		err = *failure;
	else if (follow(client, response->head, &err))
		goto out;
	else if (!err.code && response->head->status != 200)
		error_set(&err, -EPROTO, "HTTP %d (%s)", response->head->status,
			  response->head->status == 400 && !client->url.tls
				  ? "does it speak https?"
				  : "is that a login server?");
	else if (!err.code)
		good = tailcfg_server_keys_parse(response->body, response->body_length, &keys,
						 &err) == 0;
	if (good) {
		client_reached(client, response->from);
		control_core_key(&client->core, &keys.public_key, NULL, clock_boottime());
	} else {
		client_bootstrap(client, &err);
		error_wrap(&err, "fetch the key of %s", client->authority);
		control_core_key(&client->core, NULL, &err, clock_boottime());
	}
out:
	client->pumping = false;
	client_pump(client);
}

static void ask_for_key(struct control_client *client)
{
	const struct tls_options tls = {.host = client->url.host};
	struct address guesses[NAMES_ADDRESSES_MAX];
	struct http_request request = {
		.to = {.host = client->url.host,
		       .port = client->url.port,
		       .tls = client->url.tls ? &tls : NULL,
		       .fallback = guesses,
		       .fallback_count = client_guesses(client, guesses)},
		.target = client->url.path,
		.body_limit = LIMIT_KEY_BODY,
	};
	struct error err = {0};

	if (http_start(&client->dialer, &request, on_key, client, &client->key_fetch, &err) < 0)
		control_core_key(&client->core, NULL, &err, clock_boottime());
}

static void fetch_key(struct control_client *client)
{
	client->redirects = 0;
	client->url = client->configured;
	snprintf(client->url.path, sizeof(client->url.path), "/key?v=%d",
		 TAILCFG_CAPABILITY_VERSION);
	url_authority(&client->url, client->authority);
	ask_for_key(client);
}

static void on_http2_ended(void *user, const struct error *err)
{
	struct control_client *client = user;

	for (int i = 0; i < CONTROL_SLOT_COUNT; i++)
		client->slots[i].request = NULL;
	client_answers_cancel(client, false);
	http2_close(client->http2);
	client->http2 = NULL;
	control_core_lost(&client->core, err, clock_boottime());
	client_pump(client);
}

static void on_connected(void *user, struct stream *stream, const struct endpoint *to,
			 const struct error *failure)
{
	struct control_client *client = user;
	struct error err = {0};
	int r = 0;

	client->connecting = NULL;
	client->pumping = true;
	if (failure) {
		err = *failure;
		client_bootstrap(client, &err);
		error_wrap(&err, "connect to %s", client->authority);
		r = err.code;
	} else {
		r = http2_open(client->dialer.loop, stream, client->authority, on_http2_ended,
			       client, &client->http2, &err);
	}
	if (r == 0)
		client_reached(client, to);
	control_core_connected(&client->core, r < 0 ? &err : NULL, clock_boottime());
	client->pumping = false;
	client_pump(client);
}

static void connect_link(struct control_client *client, const struct control_output *out)
{
	struct address guesses[NAMES_ADDRESSES_MAX];
	struct ts2021_target target = {
		.base = &client->url,
		.machine = &client->machine_key,
		.server = out->server_key,
		.version = TAILCFG_CAPABILITY_VERSION,
		.addresses = out->addresses,
		.address_count = out->address_count,
		.fallback = guesses,
		.fallback_count = client_guesses(client, guesses),
	};
	struct error err = {0};

	if (ts2021_connect(&client->dialer, &target, on_connected, client, &client->connecting,
			   &err) < 0)
		control_core_connected(&client->core, &err, clock_boottime());
}

/* --- Requests --- */

static void on_response(void *user, int status, int64_t retry_after)
{
	struct client_slot *slot = user;

	control_core_response(&slot->client->core, slot->slot, status, retry_after);
}

static void on_data(void *user, const uint8_t *bytes, size_t length)
{
	struct client_slot *slot = user;

	control_core_data(&slot->client->core, slot->slot, bytes, length, clock_boottime());
	client_pump(slot->client);
}

static void on_end(void *user)
{
	struct client_slot *slot = user;

	slot->request = NULL;
	control_core_end(&slot->client->core, slot->slot, clock_boottime());
	client_pump(slot->client);
}

static void on_failed(void *user, const struct error *err)
{
	struct client_slot *slot = user;

	slot->request = NULL;
	control_core_failed(&slot->client->core, slot->slot, err, clock_boottime());
	/* Perhaps the connection ends and reports that next: it is one trouble. */
	soon(slot->client);
}

static const struct http2_events slot_events = {
	.response = on_response,
	.data = on_data,
	.end = on_end,
	.failed = on_failed,
};

static void send_request(struct control_client *client, const struct control_output *out)
{
	struct client_slot *slot = &client->slots[out->slot];
	char key[KEY_TEXT_MAX];
	const struct http1_header headers[] = {
		{"content-type", "application/json"},
		/* For load balancers before control. */
		{"ts-lb", public_key_format(&client->core.node_public, KEY_NODE, key)},
	};
	struct http2_message message = {
		.method = "POST",
		.path = out->path,
		.headers = headers,
		.header_count = ARRAY_SIZE(headers),
		.body = buffer_head(out->body),
		.body_length = out->body->length,
		.timeout = out->timeout,
		.body_limit = out->body_limit,
	};
	struct error err = {0};
	int r;

	r = client->http2
		    ? http2_send(client->http2, &message, &slot_events, slot, &slot->request, &err)
		    : error_set(&err, -EPIPE, "not connected");
	buffer_free_secret(out->body);
	if (r < 0)
		control_core_failed(&client->core, out->slot, &err, clock_boottime());
}

static void cancel_request(struct client_slot *slot)
{
	http2_cancel(slot->request);
	slot->request = NULL;
}

/* need_of() - The servers name refused tags in words alone */
static enum control_need need_of(const struct control_output *out)
{
	if (!out->auth_key_sent)
		return CONTROL_NEED_LOGIN;
	return strstr(out->error->text, "requested tags") ? CONTROL_NEED_TAGS
							  : CONTROL_NEED_AUTH_KEY;
}

/* --- The pump --- */

static void tell(struct control_client *client, const struct control_output *out)
{
	const struct control_handler *h = client->handler;
	void *user = client->user;
	nanoseconds now;

	switch (out->kind) {
	case CONTROL_TELL_STORE_KEY:
		h->new_node_key(user, out->key,
				secret_key_is_zero(out->old_key) ? NULL : out->old_key);
		break;
	case CONTROL_TELL_ASK_AUTH_KEY:
		h->auth_key_wanted(user);
		break;
	case CONTROL_TELL_URL:
		h->auth_url(user, out->text);
		break;
	case CONTROL_TELL_REGISTERED:
		h->registered(user, out->key, out->response);
		break;
	case CONTROL_TELL_REFUSED:
		h->need(user, need_of(out), out->error);
		break;
	case CONTROL_TELL_NETMAP:
		h->netmap(user, client->core.netmap, out->change);
		break;
	case CONTROL_TELL_HEALTHY:
		h->healthy(user);
		break;
	case CONTROL_TELL_TROUBLE:
		now = clock_boottime();
		h->trouble(user, out->error, out->deadline > now ? out->deadline - now : 0);
		break;
	case CONTROL_TELL_KEY_EXPIRED:
	case CONTROL_TELL_KEY_EXTENDED:
		h->key_expired(user, out->kind == CONTROL_TELL_KEY_EXPIRED);
		break;
	case CONTROL_TELL_LOGGED_OUT:
		h->logged_out(user, out->error->code < 0 ? out->error : NULL);
		break;
	case CONTROL_TELL_BROWSER:
		h->pop_browser(user, out->text);
		break;
	default:
		break;
	}
}

static void act(struct control_client *client, const struct control_output *out)
{
	switch (out->kind) {
	case CONTROL_FETCH_KEY:
		fetch_key(client);
		break;
	case CONTROL_CONNECT:
		connect_link(client, out);
		break;
	case CONTROL_DISCONNECT:
		disconnect(client, "the connection to the control server was closed");
		break;
	case CONTROL_SEND:
		send_request(client, out);
		break;
	case CONTROL_CANCEL:
		cancel_request(&client->slots[out->slot]);
		break;
	case CONTROL_TELL_PING:
		client_answer_ping(client, out->ping);
		break;
	default:
		tell(client, out);
		break;
	}
}

static void client_pump(struct control_client *client)
{
	struct control_output out;

	/* Called from within: the pump that runs goes on anyway. */
	if (client->pumping)
		return;
	client->pumping = true;
	while (!client->freed && control_core_next(&client->core, clock_boottime(),
						   clock_realtime(), &out) != CONTROL_NOTHING)
		act(client, &out);
	if (!client->freed)
		client_tell_addresses(client);
	client->pumping = false;
	if (client->freed)
		control_client_free(client);
	else
		loop_timer_at(client->timer, out.deadline);
}
