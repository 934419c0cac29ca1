/* SPDX-License-Identifier: BSD-3-Clause */
/* control/core.c - the control client without its connection (sans-I/O); see core.h */
#include "control/core_internal.h"

#include "base/cleanup.h"
#include "base/limits.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/* A connection that breaks fails its requests, and then itself: that is one trouble. */
#define TROUBLE_ONCE (1 * NSEC_PER_SEC)

/* A register answer is held by the server only while a person is waited for. */
#define REGISTER_TIMEOUT (60 * NSEC_PER_SEC)

/* Somebody waits for it at a terminal, and can try again. */
#define LOGOUT_TIMEOUT (10 * NSEC_PER_SEC)

/* A session that lived so long is no sign of trouble that lasts; one that ends sooner is. */
#define STEADY_AFTER (10 * NSEC_PER_SEC)

int control_core_init(struct control_core *c, struct netmap *netmap)
{
	if (!netmap)
		netmap = netmap_new();
	if (!netmap)
		return -ENOMEM;
	*c = (struct control_core){.netmap = netmap, .random = randombytes_random};
	map_stream_init(&c->stream, true);
	for (int i = 0; i < CONTROL_SLOT_COUNT; i++)
		c->slots[i].body = BUFFER_INIT(LIMIT_RPC_BODY);
	c->told = BUFFER_INIT(LIMIT_RPC_BODY);
	c->telling = BUFFER_INIT(LIMIT_RPC_BODY);
	c->body_told = BUFFER_INIT(LIMIT_RPC_BODY);
	return 0;
}

static void clear_ping(struct tailcfg_ping_request **ping)
{
	if (*ping)
		tailcfg_ping_request_clear(*ping);
	free(*ping);
	*ping = NULL;
}

void control_core_clear(struct control_core *c)
{
	registration_clear(&c->registration);
	netmap_change_clear(&c->change);
	netmap_free(c->netmap);
	tailcfg_hostinfo_clear(&c->hostinfo);
	free(c->endpoints);
	for (int i = 0; i < CONTROL_SLOT_COUNT; i++)
		buffer_free(&c->slots[i].body);
	map_stream_clear(&c->stream);
	buffer_free(&c->told);
	buffer_free(&c->telling);
	buffer_free_secret(&c->body_told);
	clear_ping(&c->ping);
	tailcfg_ping_request_clear(&c->ping_told);
	free(c->browser_url);
	free(c->last_browser_url);
	free(c->text_told);
	explicit_bzero(c, sizeof(*c));
}

/* --- Slots and trouble --- */

/* The request on @slot is over, whoever ended it. */
void control_core_free_slot(struct control_core *c, enum control_slot slot)
{
	struct control_slot_state *s = &c->slots[slot];

	s->busy = false;
	s->status = 0;
	buffer_free(&s->body);
	if (slot == CONTROL_SLOT_MAP) {
		map_stream_clear(&c->stream);
		c->map = CONTROL_MAP_IDLE;
	}
}

void control_core_cancel(struct control_core *c, enum control_slot slot)
{
	if (!c->slots[slot].busy)
		return;
	control_core_free_slot(c, slot);
	c->cancel[slot] = c->link == CONTROL_LINK_UP;
}

/* Let go of the link, and of all that runs over it. */
static void disconnect(struct control_core *c)
{
	for (int i = 0; i < CONTROL_SLOT_COUNT; i++) {
		if (c->slots[i].busy)
			control_core_free_slot(c, (enum control_slot)i);
		c->cancel[i] = false;
	}
	c->disconnect = c->link != CONTROL_LINK_DOWN;
	c->link = CONTROL_LINK_DOWN;
}

void control_core_note_trouble(struct control_core *c, const struct error *err, nanoseconds until)
{
	/* Proxies and servers end what has lasted; that is no news if it is back at once. */
	if (c->was_steady && (err->code == -EPIPE || err->code == -ECONNRESET))
		return;
	if (!c->tell_trouble && strcmp(c->trouble.text, err->text) == 0 &&
	    until - c->trouble_until < TROUBLE_ONCE)
		return;
	c->trouble = *err;
	c->trouble_until = until;
	c->tell_trouble = true;
	c->healthy = false;
	c->tell_healthy = false;
}

static void link_failed(struct control_core *c, const struct error *err, nanoseconds now)
{
	c->link = CONTROL_LINK_DOWN;
	c->retry_at =
		now + backoff_next(&c->link_backoff, BACKOFF_FIRST, BACKOFF_MOST, c->random());
	control_core_note_trouble(c, err, c->retry_at);
	if (c->want == CONTROL_WANT_LOGOUT)
		registration_unreachable(&c->registration, err);
}

void control_core_map_failed(struct control_core *c, const struct error *err, nanoseconds wait,
			     nanoseconds now)
{
	control_core_cancel(c, CONTROL_SLOT_MAP);
	c->map_retry_at = now + wait;
	control_core_note_trouble(c, err, c->map_retry_at);
}

nanoseconds control_core_map_backoff(struct control_core *c, nanoseconds now)
{
	if (c->live_since && now - c->live_since >= STEADY_AFTER) {
		c->map_backoff = (struct backoff){0};
		c->link_backoff = (struct backoff){0};
		c->was_steady = true;
	}
	c->live_since = 0;
	return backoff_next(&c->map_backoff, BACKOFF_FIRST, BACKOFF_MOST, c->random());
}

/* --- What is wanted --- */

void control_core_set_keys(struct control_core *c, const struct secret_key *node_key,
			   const struct secret_key *old_key)
{
	struct registration *r = &c->registration;

	secret_key_wipe(&r->node_key);
	secret_key_wipe(&r->old_key);
	c->node_public = (struct public_key){0};
	if (node_key) {
		r->node_key = *node_key;
		secret_key_public(node_key, &c->node_public);
	}
	if (old_key)
		r->old_key = *old_key;
}

void control_core_start(struct control_core *c, enum registration_cause cause, bool ephemeral)
{
	c->want = CONTROL_WANT_ONLINE;
	c->registration.ephemeral = ephemeral;
	control_core_cancel(c, CONTROL_SLOT_REGISTER);
	c->retry_at = 0;
	registration_begin(&c->registration, cause);
}

void control_core_logout(struct control_core *c)
{
	c->want = CONTROL_WANT_LOGOUT;
	control_core_cancel(c, CONTROL_SLOT_REGISTER);
	control_core_cancel(c, CONTROL_SLOT_UPDATE);
	c->retry_at = 0;
	registration_begin_logout(&c->registration);
}

void control_core_pause(struct control_core *c)
{
	c->want = CONTROL_WANT_NOTHING;
	registration_stop(&c->registration);
	disconnect(c);
	c->registered = false;
	c->healthy = false;
	c->tell_healthy = false;
	c->tell_trouble = false;
}

void control_core_retry_now(struct control_core *c)
{
	c->retry_at = 0;
	c->link_backoff = (struct backoff){0};
	c->update_retry_at = 0;
	if (c->sleep_until == 0 && c->slots[CONTROL_SLOT_MAP].busy == false)
		c->map_retry_at = 0;
	registration_hurry(&c->registration);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct prefix));
}

/* Sorted and without repetition, so that another order is no change. */
static void tidy_hostinfo(struct tailcfg_hostinfo *info)
{
	struct string_list *tags = &info->request_tags;
	struct prefix_list *routes = &info->routable_ips;
	uint32_t kept = 0;

	if (tags->count)
		qsort(tags->items, tags->count, sizeof(*tags->items), by_text);
	for (uint32_t i = 0; i < tags->count; i++) {
		if (kept && strcmp(tags->items[kept - 1], tags->items[i]) == 0)
			free(tags->items[i]);
		else
			tags->items[kept++] = tags->items[i];
	}
	tags->count = kept;
	if (routes->count)
		qsort(routes->items, routes->count, sizeof(*routes->items), by_bytes);
	kept = 0;
	for (uint32_t i = 0; i < routes->count; i++)
		if (!kept || !prefix_equal(&routes->items[kept - 1], &routes->items[i]))
			routes->items[kept++] = routes->items[i];
	routes->count = kept;
}

int control_core_set_hostinfo(struct control_core *c, const struct tailcfg_hostinfo *info)
{
	struct tailcfg_hostinfo copy;
	int r = members_copy(&tailcfg_hostinfo_members, info, &copy);

	if (r < 0)
		return r;
	tidy_hostinfo(&copy);
	tailcfg_hostinfo_clear(&c->hostinfo);
	c->hostinfo = copy;
	return 0;
}

static int by_endpoint(const void *a, const void *b)
{
	const struct tailcfg_endpoint *left = a, *right = b;
	int order = memcmp(&left->endpoint.address, &right->endpoint.address,
			   sizeof(left->endpoint.address));

	return order ? order : (int)left->endpoint.port - (int)right->endpoint.port;
}

int control_core_set_endpoints(struct control_core *c, const struct tailcfg_endpoint *endpoints,
			       size_t count)
{
	struct tailcfg_endpoint *copy = calloc(count ? count : 1, sizeof(*copy));
	size_t kept = 0;

	if (!copy)
		return -ENOMEM;
	if (count) {
		memcpy(copy, endpoints, count * sizeof(*copy));
		qsort(copy, count, sizeof(*copy), by_endpoint);
	}
	for (size_t i = 0; i < count; i++)
		if (!kept || !endpoint_equal(&copy[kept - 1].endpoint, &copy[i].endpoint))
			copy[kept++] = copy[i];
	free(c->endpoints);
	c->endpoints = copy;
	c->endpoint_count = kept;
	return 0;
}

/* --- What happened --- */

void control_core_key(struct control_core *c, const struct public_key *key, const struct error *err,
		      nanoseconds now)
{
	if (c->link != CONTROL_LINK_FETCHING)
		return;
	if (!key) {
		link_failed(c, err, now);
		return;
	}
	c->server_key = *key;
	c->have_server_key = true;
	c->link = CONTROL_LINK_DOWN;
}

void control_core_connected(struct control_core *c, const struct error *err, nanoseconds now)
{
	if (c->link != CONTROL_LINK_CONNECTING)
		return;
	if (!err) {
		c->link = CONTROL_LINK_UP;
		c->dial_plan_tried = false;
		return;
	}
	/*
	 * Perhaps the server has another key by now, or another server answers there:
	 * where the key is had by TLS is where the server is.
	 */
	if (err->code == -EKEYREJECTED || err->code == -EPROTO || err->code == -EBADMSG ||
	    err->code == -ETIMEDOUT)
		c->have_server_key = false;
	c->dial_plan_tried = c->dial_plan_count > 0 && !c->dial_plan_tried;
	link_failed(c, err, now);
}

void control_core_lost(struct control_core *c, const struct error *err, nanoseconds now)
{
	static const struct error in_order = {-EPIPE, "control closed the connection"};

	if (c->link != CONTROL_LINK_UP)
		return;
	if (!err)
		err = &in_order;
	for (int i = 0; i < CONTROL_SLOT_COUNT; i++)
		if (c->slots[i].busy)
			control_core_failed(c, (enum control_slot)i, err, now);
	/* It is reported once, as the link's. */
	if (c->registration.news == REGISTRATION_NEWS_TROUBLE)
		registration_take_news(&c->registration);
	link_failed(c, err, now);
}

void control_core_response(struct control_core *c, enum control_slot slot, int status,
			   int64_t retry_after)
{
	if (!c->slots[slot].busy)
		return;
	c->slots[slot].status = status;
	c->slots[slot].retry_after = retry_after;
}

void control_core_data(struct control_core *c, enum control_slot slot, const uint8_t *bytes,
		       size_t length, nanoseconds now)
{
	struct control_slot_state *s = &c->slots[slot];
	struct error err = {0};

	if (!s->busy)
		return;
	if (slot == CONTROL_SLOT_MAP && s->status == 200) {
		int r = map_stream_feed(&c->stream, bytes, length);

		if (r < 0) {
			error_set_errno(&err, r, "map: a frame");
			control_core_map_failed(c, &err, control_core_map_backoff(c, now), now);
		}
		return;
	}
	/* An error's text; what is too long of it is left out. */
	if (buffer_append(&s->body, bytes, length) == -EMSGSIZE && slot == CONTROL_SLOT_REGISTER) {
		error_set(&err, -EMSGSIZE, "register: an answer beyond %u bytes", LIMIT_RPC_BODY);
		control_core_cancel(c, slot);
		registration_failed(&c->registration, &err, now, c->random());
	}
}

static void register_ended(struct control_core *c, nanoseconds now)
{
	struct control_slot_state *s = &c->slots[CONTROL_SLOT_REGISTER];

	registration_answer(&c->registration, s->status, s->retry_after,
			    s->body.length ? buffer_head(&s->body) : (uint8_t *)"", s->body.length,
			    now, c->random());
}

void control_core_end(struct control_core *c, enum control_slot slot, nanoseconds now)
{
	if (!c->slots[slot].busy)
		return;
	switch (slot) {
	case CONTROL_SLOT_REGISTER:
		register_ended(c, now);
		break;
	case CONTROL_SLOT_MAP:
		control_core_map_ended(c, now);
		break;
	default:
		control_core_update_ended(c, now);
		break;
	}
	if (c->slots[slot].busy)
		control_core_free_slot(c, slot);
}

void control_core_failed(struct control_core *c, enum control_slot slot, const struct error *err,
			 nanoseconds now)
{
	if (!c->slots[slot].busy)
		return;
	control_core_free_slot(c, slot);
	if (slot == CONTROL_SLOT_REGISTER)
		registration_failed(&c->registration, err, now, c->random());
	else if (slot == CONTROL_SLOT_MAP)
		control_core_map_failed(c, err, control_core_map_backoff(c, now), now);
	else
		c->update_retry_at = now + backoff_next(&c->update_backoff, BACKOFF_FIRST,
							BACKOFF_MOST, c->random());
}

/* --- Next --- */

/* Keep a text for as long as an output may point to it. */
static const char *keep_text(struct control_core *c, const char *text)
{
	free(c->text_told);
	c->text_told = text ? strdup(text) : NULL;
	return c->text_told ? c->text_told : "";
}

static enum control_output_kind tell_registration(struct control_core *c,
						  struct control_output *out, nanoseconds now)
{
	struct registration *r = &c->registration;

	c->error_told = r->error;
	out->error = &c->error_told;
	out->auth_key_sent = r->auth_key_was_sent;
	switch (registration_take_news(r)) {
	case REGISTRATION_NEWS_URL:
		out->text = keep_text(c, r->auth_url);
		return CONTROL_TELL_URL;
	case REGISTRATION_NEWS_REFUSED:
		return CONTROL_TELL_REFUSED;
	case REGISTRATION_NEWS_TROUBLE:
		out->deadline = r->step == REGISTRATION_WAIT ? r->wait_until : now;
		return CONTROL_TELL_TROUBLE;
	case REGISTRATION_NEWS_DONE:
		c->registered = true;
		c->expired_told = false;
		/* A session of the key before goes on until here. */
		control_core_cancel(c, CONTROL_SLOT_MAP);
		control_core_cancel(c, CONTROL_SLOT_UPDATE);
		buffer_free(&c->told);
		secret_key_public(&r->node_key, &c->node_public);
		c->key_told = r->node_key;
		out->key = &c->key_told;
		out->response = &r->response;
		return CONTROL_TELL_REGISTERED;
	case REGISTRATION_NEWS_LOGGED_OUT:
		control_core_pause(c);
		/* A key that control has forgotten is of no more use. */
		if (c->error_told.code == 0)
			control_core_set_keys(c, NULL, NULL);
		return CONTROL_TELL_LOGGED_OUT;
	default:
		return CONTROL_NOTHING;
	}
}

static enum control_output_kind tell(struct control_core *c, struct control_output *out,
				     nanoseconds now)
{
	if (c->tell_netmap) {
		c->tell_netmap = false;
		out->change = &c->change;
		return CONTROL_TELL_NETMAP;
	}
	if (c->ping) {
		tailcfg_ping_request_clear(&c->ping_told);
		c->ping_told = *c->ping;
		free(c->ping);
		c->ping = NULL;
		out->ping = &c->ping_told;
		return CONTROL_TELL_PING;
	}
	if (c->browser_url) {
		out->text = keep_text(c, c->browser_url);
		free(c->browser_url);
		c->browser_url = NULL;
		return CONTROL_TELL_BROWSER;
	}
	if (c->tell_trouble) {
		c->tell_trouble = false;
		c->error_told = c->trouble;
		out->error = &c->error_told;
		out->deadline = c->trouble_until;
		return CONTROL_TELL_TROUBLE;
	}
	if (c->tell_healthy) {
		c->tell_healthy = false;
		return CONTROL_TELL_HEALTHY;
	}
	if (c->registration.news != REGISTRATION_NEWS_NONE)
		return tell_registration(c, out, now);
	if (c->tell_expired) {
		c->tell_expired = false;
		return c->expired_told ? CONTROL_TELL_KEY_EXPIRED : CONTROL_TELL_KEY_EXTENDED;
	}
	return CONTROL_NOTHING;
}

static enum control_output_kind bring_up(struct control_core *c, struct control_output *out,
					 nanoseconds now)
{
	if (c->link != CONTROL_LINK_DOWN)
		return CONTROL_NOTHING;
	if (now < c->retry_at) {
		out->deadline = deadline_min(out->deadline, c->retry_at);
		return CONTROL_NOTHING;
	}
	c->was_steady = false;
	if (!c->have_server_key) {
		c->link = CONTROL_LINK_FETCHING;
		return CONTROL_FETCH_KEY;
	}
	c->link = CONTROL_LINK_CONNECTING;
	out->server_key = &c->server_key;
	if (!c->dial_plan_tried) {
		out->addresses = c->dial_plan;
		out->address_count = c->dial_plan_count;
	}
	return CONTROL_CONNECT;
}

/* Occupy @slot and hand out its request. */
enum control_output_kind control_core_send(struct control_core *c, enum control_slot slot,
					   const char *path, struct control_output *out)
{
	c->slots[slot].busy = true;
	out->slot = slot;
	out->path = path;
	out->body = &c->body_told;
	return CONTROL_SEND;
}

/* Steps of a registration that need no link, then those that do. */
static enum control_output_kind go_on_registering(struct control_core *c,
						  struct control_output *out, nanoseconds now)
{
	struct registration *r = &c->registration;
	struct error err = {0};
	int result;

	registration_tick(r, now);
	switch (r->step) {
	case REGISTRATION_STORE_KEY:
		registration_told(r);
		c->key_told = r->candidate;
		c->old_key_told = r->previous;
		out->key = &c->key_told;
		out->old_key = &c->old_key_told;
		return CONTROL_TELL_STORE_KEY;
	case REGISTRATION_ASK_AUTH_KEY:
		registration_told(r);
		return CONTROL_TELL_ASK_AUTH_KEY;
	case REGISTRATION_WAIT:
		out->deadline = deadline_min(out->deadline, r->wait_until);
		return CONTROL_NOTHING;
	case REGISTRATION_SEND:
		break;
	default:
		return CONTROL_NOTHING;
	}
	if (c->link != CONTROL_LINK_UP)
		return CONTROL_NOTHING;
	buffer_free_secret(&c->body_told);
	result = registration_request(r, &c->hostinfo, &c->body_told);
	if (result < 0) {
		r->step = REGISTRATION_SENT;
		error_set_errno(&err, result, "register");
		registration_failed(r, &err, now, c->random());
		return CONTROL_NOTHING;
	}
	out->timeout = r->following ? 0 : r->logout ? LOGOUT_TIMEOUT : REGISTER_TIMEOUT;
	out->body_limit = LIMIT_RPC_BODY;
	return control_core_send(c, CONTROL_SLOT_REGISTER, "/machine/register", out);
}

static enum control_output_kind clean_up(struct control_core *c, struct control_output *out)
{
	if (c->disconnect) {
		c->disconnect = false;
		memset(c->cancel, 0, sizeof(c->cancel));
		return CONTROL_DISCONNECT;
	}
	for (int i = 0; i < CONTROL_SLOT_COUNT; i++) {
		if (!c->cancel[i])
			continue;
		c->cancel[i] = false;
		out->slot = (enum control_slot)i;
		return CONTROL_CANCEL;
	}
	return CONTROL_NOTHING;
}

static enum control_output_kind next(struct control_core *c, struct control_output *out,
				     nanoseconds now, nanoseconds wall_clock)
{
	enum control_output_kind kind;

	kind = clean_up(c, out);
	if (kind == CONTROL_NOTHING)
		kind = tell(c, out, now);
	if (kind != CONTROL_NOTHING || c->want == CONTROL_WANT_NOTHING)
		return kind;
	kind = bring_up(c, out, now);
	if (kind == CONTROL_NOTHING)
		kind = go_on_registering(c, out, now);
	if (kind == CONTROL_NOTHING && c->want == CONTROL_WANT_ONLINE)
		kind = control_core_map_next(c, out, now, wall_clock);
	return kind;
}

enum control_output_kind control_core_next(struct control_core *c, nanoseconds now,
					   nanoseconds wall_clock, struct control_output *out)
{
	/* The report is handled; the peers that it points to may go with the next message. */
	if (!c->tell_netmap)
		netmap_change_clear(&c->change);
	/* A step may only have prepared something to clean up or tell. */
	for (int i = 0; i < 4; i++) {
		*out = (struct control_output){.deadline = DEADLINE_NEVER};
		out->kind = next(c, out, now, wall_clock);
		if (out->kind != CONTROL_NOTHING)
			return out->kind;
	}
	return CONTROL_NOTHING;
}
