/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/localapi/fake_node.c - node.h without a node */
#include "fake_node.h"

#include "wire/tailcfg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct node_watch {
	struct node *node;
	node_notify *notify;
	void *context;
};

/* put() - @json, which is released, as a value */
static void put(struct json_writer *w, const char *name, json_t *json)
{
	char *text = json_dumps(json, w->pretty ? JSON_INDENT(1) : JSON_COMPACT);

	json_put_raw(w, name, text);
	json_decref(json);
	free(text);
}

void node_write_status(struct node *node, bool peers, struct json_writer *w, const char *name)
{
	node->peers_asked = peers;
	put(w, name,
	    node->status ? json_incref(node->status)
			 : json_pack("{s:s}", "BackendState", "Running"));
}

/* enter() - Acting: be in another state, and say so on the bus */
static void enter(struct node *node, int number)
{
	static const char *const names[] = {[2] = "NeedsLogin", [4] = "Stopped", [6] = "Running"};

	json_object_set_new(node->status, "BackendState", json_string(names[number]));
	fake_node_notify(node, json_pack("{s:i}", "State", number));
}

/* act() - What follows from the prefs and from whether somebody is logged in */
static void act(struct node *node)
{
	bool known = json_is_true(json_object_get(node->status, "HaveNodeKey"));

	enter(node, !known ? 2 : node->prefs->want_running ? 6 : 4);
}

void node_write_prefs(struct node *node, struct json_writer *w, const char *name)
{
	json_t *prefs = json_pack("{s:s}", "Hostname", "fake"), *config;

	if (node->prefs) {
		json_decref(prefs);
		prefs = prefs_json(node->prefs);
		config = json_pack("{s:{s:i,s:s,s:s}}", "UserProfile", "ID", 1, "LoginName",
				   "alice", "DisplayName", "alice");
		json_object_set_new(prefs, "Config", config);
	}
	put(w, name, prefs);
}

int node_edit_prefs(struct node *node, json_t *masked, struct error *err)
{
	json_decref(node->last_edit);
	node->last_edit = json_incref(masked);
	if (node->prefs) {
		int r = prefs_edit(node->prefs, masked, err);

		if (r == 0)
			act(node);
		return r;
	}
	return node->fail ? error_set(err, node->fail, "edit refused") : 0;
}

bool node_is_known(const struct node *node)
{
	return !node->status || !json_is_false(json_object_get(node->status, "HaveNodeKey"));
}

void node_when_stored(struct node *node, void (*done)(struct node *node, void *context),
		      void *context)
{
	if (!node->store_slowly) {
		done(node, context);
		return;
	}
	node->stored_done = done;
	node->done_context = context;
}

int node_start(struct node *node, json_t *ipn_options, struct error *err)
{
	json_decref(node->last_start);
	node->last_start = ipn_options;
	if (node->prefs) {
		struct prefs prefs;
		int r = prefs_decode(json_object_get(ipn_options, "UpdatePrefs"), &prefs, err);

		if (r < 0)
			return r;
		prefs_free(node->prefs);
		*node->prefs = prefs;
		if (json_string_length(json_object_get(ipn_options, "AuthKey")) > 0)
			json_object_set_new(node->status, "HaveNodeKey", json_true());
		act(node);
		return 0;
	}
	return node->fail ? error_set(err, node->fail, "start refused") : 0;
}

int node_login_interactive(struct node *node, struct error *err)
{
	node->logins++;
	if (node->prefs && json_is_false(json_object_get(node->status, "HaveNodeKey"))) {
		json_object_set_new(node->status, "AuthURL", json_string("https://login.test/1"));
		fake_node_notify(node, json_pack("{s:s}", "BrowseToURL", "https://login.test/1"));
	}
	return node->fail ? error_set(err, node->fail, "login refused") : 0;
}

int node_logout(struct node *node, void (*done)(void *context, const struct error *err),
		void *context, struct error *err)
{
	if (node->fail)
		return error_set(err, node->fail, "the state is broken");
	if (node->prefs) {
		json_object_set_new(node->status, "HaveNodeKey", json_false());
		enter(node, 2);
	}
	node->logout_done = done;
	node->done_context = context;
	if (!node->answer_later)
		fake_node_answer(node);
	return 0;
}

int node_ping(struct node *node, const struct address *target, const char *type,
	      void (*done)(void *context, const struct tailcfg_ping_result *result), void *context)
{
	if (target->bytes[3] == 9)
		return -ENOENT;
	if (strcmp(type, "disco") != 0 && strcmp(type, "TSMP") != 0)
		return -EINVAL;
	strcpy(node->ping_type, type);
	node->ping_done = done;
	node->done_context = context;
	if (!node->answer_later)
		fake_node_answer(node);
	return 0;
}

void fake_node_answer(struct node *node)
{
	void (*ping_done)(void *, const struct tailcfg_ping_result *) = node->ping_done;
	struct tailcfg_ping_result pong = {
		.target = {.family = ADDRESS_V4, .bytes = {100, 64, 0, 2}},
		.name = "laptop",
		.error = "",
		.latency_seconds = 0.0123,
		.endpoint = {{.family = ADDRESS_V4, .bytes = {192, 0, 2, 7}}, 41641},
		.region_code = "",
	};
	void (*logout_done)(void *, const struct error *) = node->logout_done;
	void (*stored_done)(struct node *, void *) = node->stored_done;

	node->ping_done = NULL;
	node->logout_done = NULL;
	node->stored_done = NULL;
	if (stored_done)
		stored_done(node, node->done_context);
	if (ping_done)
		ping_done(node->done_context, &pong);
	if (logout_done)
		logout_done(node->done_context, NULL);
}

bool node_identify(const struct node *node, const struct address *address,
		   struct node_identity *ret)
{
	(void)node;
	*ret = (struct node_identity){.address = *address, .is_self = address->bytes[3] == 1};
	return address->bytes[3] != 9;
}

int node_serve_config(struct node *node, struct buffer *out, char ret_etag[static NODE_ETAG_MAX])
{
	(void)node;
	strcpy(ret_etag, "0a1b");
	return buffer_append(out, "{\"TCP\":{}}", 10);
}

void node_query_feature(struct node *node, const char *feature,
			void (*done)(void *context, const char *json, const char *why),
			void *context)
{
	(void)node;
	done(context, strcmp(feature, "serve") == 0 ? "{\"Complete\":true}" : NULL, "not known");
}

int node_set_serve_config(struct node *node, const json_t *config, const char *etag, bool root,
			  struct error *err)
{
	(void)config;
	(void)root;
	snprintf(node->if_match, sizeof(node->if_match), "%s", etag ? etag : "");
	return node->fail ? error_set(err, node->fail, "serving refused") : 0;
}

int node_write_whois(struct node *node, const struct address *address, struct json_writer *w)
{
	char text[ADDRESS_TEXT_MAX];

	if (address->bytes[3] == 9)
		return -ENOENT;
	put(w, NULL,
	    node->whois ? json_incref(node->whois)
			: json_pack("{s:s}", "Who", address_format(address, text)));
	return 0;
}

int node_cert(struct node *node, const char *domain, int64_t min_validity, node_cert_done *done,
	      void *user, struct error *err)
{
	static const char pair[] = "KEY\n-----BEGIN CERTIFICATE-----\n";

	(void)node;
	(void)min_validity;
	if (domain && strcmp(domain, "app.tail.example") != 0)
		return error_set(err, -EINVAL, "invalid domain");
	done(user, domain ? pair : pair + 4, strlen(domain ? pair : pair + 4), NULL);
	return 0;
}

void node_write_funnels(const struct node *node, const char *nodes, struct json_writer *w)
{
	(void)node;
	json_begin_object(w, NULL);
	json_put_string(w, "nodes", nodes);
	json_end_object(w);
}

int node_write_derp_map(struct node *node, struct json_writer *w)
{
	if (node->fail)
		return -ENODATA;
	json_begin_object(w, NULL);
	json_begin_object(w, "Regions");
	json_end_object(w);
	json_end_object(w);
	return 0;
}

bool node_has_map(const struct node *node)
{
	(void)node;
	return false;
}

void node_write_netmap(struct node *node, struct json_writer *w, const char *name)
{
	(void)node;
	json_put_null(w, name);
}

int node_debug(struct node *node, const char *action, struct json_writer *w, struct error *err)
{
	(void)node;
	if (strcmp(action, "control-knobs") == 0)
		put(w, NULL, json_pack("{s:b}", "SilentDisco", 1));
	else if (strcmp(action, "rebind") != 0)
		return error_set(err, -EINVAL, "unknown action \"%s\"", action);
	return 0;
}

bool node_address_of(struct node *node, const char *name, struct address *ret)
{
	(void)node;
	return strcmp(name, "app") == 0 && address_parse("fd7a:115c:a1e0::2", 17, ret) == 0;
}

struct node_watch *node_watch_new(struct node *node, unsigned int mask, node_notify *notify,
				  void *context)
{
	struct node_watch *watch = malloc(sizeof(*watch));

	*watch = (struct node_watch){node, notify, context};
	node->watch = watch;
	node->watches++;
	node->last_mask = mask;
	if (mask & NODE_WATCH_INITIAL_STATE)
		fake_node_notify(node, json_pack("{s:i}", "State", 6));
	return watch;
}

void node_watch_free(struct node_watch *watch)
{
	if (!watch)
		return;
	watch->node->watches--;
	if (watch->node->watch == watch)
		watch->node->watch = NULL;
	free(watch);
}

void fake_node_notify(struct node *node, json_t *message)
{
	char *text = json_dumps(message, JSON_COMPACT);
	size_t length = strlen(text);

	text[length] = '\n';
	if (node->watch)
		node->watch->notify(node->watch->context, text, length + 1);
	json_decref(message);
	free(text);
}

bool node_healthy(struct node *node, char *reason, size_t size)
{
	if (!node->healthy)
		snprintf(reason, size, "no tailnet address yet");
	return node->healthy;
}

int node_metrics(struct node *node, struct buffer *out)
{
	(void)node;
	return buffer_printf(out, "fake_metric 1\n");
}

bool node_may_write(struct node *node, uid_t uid)
{
	(void)uid;
	return node->writable;
}

void fake_node_clear(struct node *node)
{
	json_decref(node->last_edit);
	json_decref(node->last_start);
	*node = (struct node){0};
}
