/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * localapi/localapi.c - the official paths of the LocalAPI, answered from node.h
 *
 * Theory of operation. One table has a row for each path: method, access, function. The
 * server checks the head of a request before it takes the body: it refuses requests of
 * browsers (Origin, Referer, another Host), unknown paths and methods, and changes by any
 * user but uid 0 and the operator. Answers have the form of the official daemon, whose
 * command line reads them.
 */
#include "localapi/localapi_internal.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/text.h"
#include "node/prefs.h"
#include "wire/json.h"
#include "wire/tailcfg.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOCALAPI_HOST      "local-tailscaled.sock"
#define LOCALAPI_PREFIX    "/localapi/v0/"
#define STRINGIFY_(x)      #x
#define STRINGIFY(x)       STRINGIFY_(x)
#define ANSWER_MAX         (128u * 1024 * 1024)
#define PING_SIZE_MAX      65507
#define WATCH_MASK_REFUSED (NODE_WATCH_INITIAL_NETMAP | NODE_WATCH_RATE_LIMIT | 1 << 16)
#define WATCH_MASK_BITS    19

enum access {
	ACCESS_READ,
	ACCESS_WRITE,
};

struct route {
	const char *method;
	const char *path; /* below LOCALAPI_PREFIX, or absolute */
	enum access access;
	void (*serve)(struct node *node, struct http1_exchange *x);
	const char *json; /* the answer where @serve is NULL */
};

/* --- replies --- */

/* A JSON answer under construction. */
struct answer {
	struct buffer text;
	struct json_writer w;
};

static struct json_writer *answer_begin(struct answer *a, bool pretty)
{
	a->text = BUFFER_INIT(ANSWER_MAX);
	a->w = json_writer_to(&a->text);
	a->w.pretty = pretty;
	return &a->w;
}

/* answer_end() - Send what was written, and release it */
static void answer_end(struct http1_exchange *x, int status, struct answer *a)
{
	if (json_writer_result(&a->w) < 0)
		http1_reply_text(x, 500, "out of memory");
	else
		http1_reply(x, status, "application/json", buffer_head(&a->text), a->text.length);
	buffer_free_secret(&a->text);
}

/* reply_object() - Answer with an object of one text, or an empty one (@text NULL) */
static void reply_object(struct http1_exchange *x, int status, const char *member, const char *text)
{
	struct json_writer *w;
	struct answer answer;

	w = answer_begin(&answer, false);
	json_begin_object(w, NULL);
	if (text)
		json_put_string(w, member, text);
	json_end_object(w);
	answer_end(x, status, &answer);
}

static void reply_nothing(struct http1_exchange *x)
{
	http1_reply(x, 204, NULL, NULL, 0);
}

/* body_object() - The JSON object in the body; NULL, and answered with 400, when it isn't one */
static json_t *body_object(struct http1_exchange *x)
{
	json_error_t why = {0};
	json_t *object = NULL;

	if (x->body->length > 0)
		object = json_loadb((char *)buffer_head(x->body), x->body->length, 0, &why);
	if (json_is_object(object))
		return object;
	json_decref(object);
	http1_reply_text(x, 400, "invalid JSON body: %s",
			 why.text[0] ? why.text : "not a JSON object");
	return NULL;
}

/* --- the paths --- */

static void serve_root(struct node *node, struct http1_exchange *x)
{
	(void)node;
	http1_reply_text(x, 200, "tailscaled");
}

static int query_value(const struct http1_exchange *x, const char *name, char *out, size_t size)
{
	return form_field(x->query, strlen(x->query), name, out, size);
}

static bool query_bool(const struct http1_exchange *x, const char *name, bool otherwise)
{
	char value[8];
	bool on;

	if (query_value(x, name, value, sizeof(value)) < 0 || bool_parse(value, &on) < 0)
		return otherwise;
	return on;
}

static void serve_status(struct node *node, struct http1_exchange *x)
{
	struct answer answer;

	node_write_status(node, query_bool(x, "peers", true), answer_begin(&answer, true), NULL);
	answer_end(x, 200, &answer);
}

static void serve_prefs(struct node *node, struct http1_exchange *x)
{
	struct answer answer;

	node_write_prefs(node, answer_begin(&answer, true), NULL);
	answer_end(x, 200, &answer);
}

/* reply_stored() - Answer a change once it is stored, so that a crash doesn't lose it */
static void reply_stored(struct node *node, struct http1_exchange *x,
			 void (*done)(struct node *node, void *context))
{
	http1_hold(x);
	node_when_stored(node, done, x);
}

static void stored_prefs(struct node *node, void *context)
{
	serve_prefs(node, context);
	http1_release(context);
}

static void stored_nothing(struct node *node, void *context)
{
	(void)node;
	reply_nothing(context);
	http1_release(context);
}

static void serve_edit_prefs(struct node *node, struct http1_exchange *x)
{
	json_t *masked = body_object(x);
	struct error err = {0};
	int r;

	if (!masked)
		return;
	r = node_edit_prefs(node, masked, &err);
	json_decref(masked);
	if (r < 0)
		reply_object(x, 400, "Error", err.text);
	else
		reply_stored(node, x, stored_prefs);
}

static void serve_check_prefs(struct node *node, struct http1_exchange *x)
{
	json_t *object = body_object(x);
	struct prefs prefs = {0};
	struct error err = {0};

	(void)node;
	if (!object)
		return;
	if (prefs_decode(object, &prefs, &err) == 0)
		(void)prefs_check(&prefs, &err);
	prefs_free(&prefs);
	json_decref(object);
	reply_object(x, 200, "Error", err.code ? err.text : NULL);
}

static void serve_start(struct node *node, struct http1_exchange *x)
{
	json_t *options = body_object(x);
	struct error err = {0};
	bool logs_in;
	int r;

	if (!options)
		return;
	/*
	 * A login makes its caller wait until keys and prefs are stored. Its login-interactive
	 * request must not come late.
	 */
	logs_in =
		!node_is_known(node) || json_string_length(json_object_get(options, "AuthKey")) > 0;
	r = node_start(node, options, &err);
	if (r < 0)
		http1_reply_text(x, 500, "%s", err.text);
	else if (logs_in)
		reply_nothing(x);
	else
		reply_stored(node, x, stored_nothing);
}

static void serve_login_interactive(struct node *node, struct http1_exchange *x)
{
	struct error err = {0};

	if (node_login_interactive(node, &err) < 0)
		http1_reply_text(x, 500, "%s", err.text);
	else
		reply_nothing(x);
}

static void logout_done(void *context, const struct error *err)
{
	struct http1_exchange *x = context;

	if (err)
		http1_reply_text(x, 500, "%s", err->text);
	else
		reply_stored(x->context, x, stored_nothing);
	http1_release(x);
}

static void serve_logout(struct node *node, struct http1_exchange *x)
{
	struct error err = {0};
	int r;

	http1_hold(x);
	x->context = node;
	r = node_logout(node, logout_done, x, &err);
	if (r < 0) {
		http1_reply_text(x, 500, "logout: %s", err.text);
		http1_release(x);
	}
}

/* serve_new_profile() - `tailscale login` begins with an empty profile; here there is one */
static void serve_new_profile(struct node *node, struct http1_exchange *x)
{
	if (node_is_known(node))
		http1_reply_text(x, 409,
				 "pillion keeps one login, and has it: renew it with 'up "
				 "--force-reauth', or end it with 'logout'");
	else
		http1_reply(x, 201, NULL, NULL, 0);
}

/* reply_ping() - Answer with an ipnstate.PingResult */
static void reply_ping(struct http1_exchange *x, const struct tailcfg_ping_result *r, bool own)
{
	char target[ADDRESS_TEXT_MAX], endpoint[ENDPOINT_TEXT_MAX] = "";
	struct json_writer *w;
	struct answer answer;

	address_format(&r->target, target);
	if (r->endpoint.address.family != ADDRESS_NONE)
		endpoint_format(&r->endpoint, endpoint);
	w = answer_begin(&answer, false);
	json_begin_object(w, NULL);
	json_put_string(w, "IP", target);
	json_put_string(w, "NodeIP", target);
	json_put_string(w, "NodeName", r->name);
	json_put_string(w, "Err", r->error);
	json_put_number(w, "LatencySeconds", r->latency_seconds);
	json_put_string(w, "Endpoint", endpoint);
	json_put_string(w, "PeerRelay", "");
	json_put_int(w, "DERPRegionID", r->region);
	json_put_string(w, "DERPRegionCode", r->region_code);
	json_put_int(w, "PeerAPIPort", r->peer_api_port);
	json_put_string_if(w, "PeerAPIURL", r->peer_api_url);
	json_put_bool(w, "IsLocalIP", own);
	json_end_object(w);
	answer_end(x, 200, &answer);
}

static void ping_done(void *context, const struct tailcfg_ping_result *result)
{
	reply_ping(context, result, false);
	http1_release(context);
}

/* A ping that a local program asks for. */
struct ping_request {
	struct address target;
	char type[16];
	unsigned long size;
};

/* read_ping() - The parameters of a ping; returns what is wrong with them, or NULL */
static const char *read_ping(const struct http1_exchange *x, struct ping_request *ret)
{
	char ip[ADDRESS_TEXT_MAX], size[8] = "", *end;

	if (query_value(x, "ip", ip, sizeof(ip)) < 0 ||
	    address_parse(ip, strlen(ip), &ret->target) < 0)
		return "invalid IP";
	if (query_value(x, "type", ret->type, sizeof(ret->type)) <= 0)
		return "missing 'type' parameter";
	if (query_value(x, "size", size, sizeof(size)) == -EINVAL)
		return "invalid 'size' parameter";
	ret->size = strtoul(size, &end, 10);
	if (*end || ret->size > PING_SIZE_MAX || size[0] == '-' ||
	    (ret->size > 0 && strcmp(ret->type, "disco") != 0))
		return "invalid 'size' parameter";
	return NULL;
}

static void serve_ping(struct node *node, struct http1_exchange *x)
{
	struct ping_request ping;
	const char *wrong = read_ping(x, &ping);
	char ip[ADDRESS_TEXT_MAX], text[ADDRESS_TEXT_MAX + 32];
	struct tailcfg_ping_result none = {.name = "", .error = text, .region_code = ""};
	struct node_identity owner;
	int r;

	if (wrong) {
		http1_reply_text(x, 400, "%s", wrong);
		return;
	}
	if (ping.size > 0) {
		reply_object(x, 501, "error", "ping: a size is not supported yet; leave it out");
		return;
	}
	none.target = ping.target;
	if (node_identify(node, &ping.target, &owner) && owner.is_self) {
		snprintf(text, sizeof(text), "%s is local Tailscale IP",
			 address_format(&ping.target, ip));
		reply_ping(x, &none, true);
		return;
	}
	http1_hold(x);
	r = node_ping(node, &ping.target, ping.type, ping_done, x);
	if (r == 0)
		return;
	snprintf(text, sizeof(text), "%s",
		 r == -ENOENT          ? "no matching peer"
		 : r == -EADDRNOTAVAIL ? "the peer offers no PeerAPI"
		 : r == -EINVAL        ? "ping: unknown type"
				       : strerror(-r));
	if (r == -ENOENT || r == -EADDRNOTAVAIL)
		reply_ping(x, &none, false);
	else
		reply_object(x, 500, "error", text);
	http1_release(x);
}

static void serve_whois(struct node *node, struct http1_exchange *x)
{
	char addr[ENDPOINT_TEXT_MAX + 32];
	struct endpoint who = {0};
	struct answer answer;

	if (query_value(x, "addr", addr, sizeof(addr)) <= 0) {
		http1_reply_text(x, 400, "missing 'addr' parameter");
		return;
	}
	if (strncmp(addr, "nodekey:", 8) == 0) {
		http1_reply_text(x, 501, "whois by node key is not supported; ask by address");
		return;
	}
	if (address_parse(addr, strlen(addr), &who.address) < 0 &&
	    endpoint_parse(addr, strlen(addr), &who) < 0) {
		http1_reply_text(x, 400, "invalid 'addr' parameter");
		return;
	}
	if (node_write_whois(node, &who.address, answer_begin(&answer, true)) == 0)
		answer_end(x, 200, &answer);
	else
		http1_reply_text(x, 404, "no match for IP:port");
}

/* serve_funnels() - Ours: the official LocalAPI has no such path */
static void serve_funnels(struct node *node, struct http1_exchange *x)
{
	size_t size = strlen(x->query) + 1;
	_cleanup_free_ char *nodes = calloc(1, size);
	struct answer answer;

	if (!nodes) {
		http1_reply_text(x, 503, "out of memory");
		return;
	}
	if (query_value(x, "nodes", nodes, size) < 0)
		nodes[0] = 0;
	node_write_funnels(node, nodes, answer_begin(&answer, false));
	answer_end(x, 200, &answer);
}

static void serve_netmap(struct node *node, struct http1_exchange *x)
{
	struct answer answer;

	if (!node_has_map(node)) {
		http1_reply_text(x, 503, "no netmap yet");
		return;
	}
	node_write_netmap(node, answer_begin(&answer, true), NULL);
	answer_end(x, 200, &answer);
}

static void serve_derp_map(struct node *node, struct http1_exchange *x)
{
	struct answer answer;

	if (node_write_derp_map(node, answer_begin(&answer, true)) == 0)
		answer_end(x, 200, &answer);
	else
		http1_reply_text(x, 503, "no netmap yet");
}

static void serve_get_serve_config(struct node *node, struct http1_exchange *x)
{
	struct buffer text = BUFFER_INIT(ANSWER_MAX);
	char etag[NODE_ETAG_MAX];

	if (node_serve_config(node, &text, etag) < 0) {
		http1_reply_text(x, 500, "out of memory");
	} else {
		http1_reply_header(x, "Etag", etag);
		http1_reply(x, 200, "application/json", buffer_head(&text), text.length);
	}
	buffer_free(&text);
}

static void stored_serve_config(struct node *node, void *context)
{
	(void)node;
	http1_reply(context, 200, NULL, NULL, 0);
	http1_release(context);
}

static void serve_set_serve_config(struct node *node, struct http1_exchange *x)
{
	static const struct {
		int code, status;
	} refusals[] = {
		{-EINVAL, 400},     {-EEXIST, 409}, {-ESTALE, 412}, {-EMSGSIZE, 413},
		{-EOPNOTSUPP, 501}, {-EBUSY, 503},  {-EPERM, 403},  {-EACCES, 401},
	};
	bool none = x->body->length == 4 && memcmp(buffer_head(x->body), "null", 4) == 0;
	json_t *config = none ? json_object() : body_object(x);
	struct error err = {0};
	int r, status = 500;

	if (!config)
		return;
	r = node_set_serve_config(node, config, http1_header(x->head, "If-Match"), x->uid == 0,
				  &err);
	json_decref(config);
	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++)
		if (refusals[i].code == r)
			status = refusals[i].status;
	if (r < 0)
		reply_object(x, status, "error", err.text);
	else
		reply_stored(node, x, stored_serve_config);
}

static void feature_found(void *context, const char *json, const char *why)
{
	if (json)
		http1_reply(context, 200, "application/json", json, strlen(json));
	else
		reply_object(context, 501, "error", why);
	http1_release(context);
}

/* serve_query_feature() - The official command line asks before it serves HTTPS or by Funnel */
static void serve_query_feature(struct node *node, struct http1_exchange *x)
{
	char feature[32];

	if (query_value(x, "feature", feature, sizeof(feature)) <= 0) {
		http1_reply_text(x, 400, "missing 'feature' parameter");
		return;
	}
	http1_hold(x);
	node_query_feature(node, feature, feature_found, x);
}

/* watch_notify() - A reader that is too slow is cut off, and dials again */
static void watch_notify(void *context, const void *line, size_t length)
{
	if (line)
		(void)http1_stream_send(context, line, length);
	else
		http1_stream_end(context);
}

static void watch_closed(struct http1_exchange *x)
{
	node_watch_free(x->context);
	x->context = NULL;
}

static void serve_watch(struct node *node, struct http1_exchange *x)
{
	char text[16];
	struct node_watch *watch;
	unsigned long mask = 0;
	char *end = text;
	int r;

	r = query_value(x, "mask", text, sizeof(text));
	if (r > 0)
		mask = strtoul(text, &end, 10);
	if (r == -EINVAL || (r > 0 && *end) || text[0] == '-' || mask >> WATCH_MASK_BITS ||
	    (mask & WATCH_MASK_REFUSED)) {
		http1_reply_text(x, 400, "bad mask");
		return;
	}
	http1_hold(x);
	if (http1_stream_begin(x, "application/json") == 0) {
		watch = node_watch_new(node, (unsigned int)mask, watch_notify, x);
		/* The first message may have found the reader gone. */
		if (http1_is_open(x)) {
			x->context = watch;
			x->closed = watch_closed;
		} else {
			node_watch_free(watch);
		}
		if (!watch)
			http1_stream_end(x);
	}
	http1_release(x);
}

/* serve_debug() - The query, or a form in the body, names the action */
static void serve_debug(struct node *node, struct http1_exchange *x)
{
	char action[64] = "";
	struct error err = {0};
	struct answer answer;

	if (query_value(x, "action", action, sizeof(action)) < 0 && x->body->length)
		(void)form_field((char *)buffer_head(x->body), x->body->length, "action", action,
				 sizeof(action));
	if (node_debug(node, action, answer_begin(&answer, false), &err) < 0)
		http1_reply_text(x, 400, "%s", err.text);
	else if (answer.text.length)
		answer_end(x, 200, &answer);
	else
		http1_reply_text(x, 200, "done");
}

/*
 * serve_dial() - Answer with the address of a host, which the caller connects to itself
 *
 * Callers share the network namespace, so the kernel's interface takes them to the tailnet.
 */
static void serve_dial(struct node *node, struct http1_exchange *x)
{
	const char *host = http1_header(x->head, "Dial-Host");
	const char *port = http1_header(x->head, "Dial-Port");
	char to[320];
	struct address address;
	struct endpoint at = {0};
	unsigned long number;
	char *end;

	if (!host || !*host || !port || !*port) {
		http1_reply_text(x, 400, "missing Dial-Host or Dial-Port header");
		return;
	}
	number = strtoul(port, &end, 10);
	if (*end || port[0] < '0' || port[0] > '9' || number > UINT16_MAX) {
		http1_reply_text(x, 400, "Dial-Port is not a port number");
		return;
	}
	if (address_parse(host, strlen(host), &address) == 0 ||
	    node_address_of(node, host, &address)) {
		char text[ENDPOINT_TEXT_MAX];

		at = (struct endpoint){.address = address, .port = (uint16_t)number};
		snprintf(to, sizeof(to), "%s", endpoint_format(&at, text));
	} else if (snprintf(to, sizeof(to), "%s:%lu", host, number) >= (int)sizeof(to)) {
		http1_reply_text(x, 400, "the name in Dial-Host is too long");
		return;
	}
	http1_reply_header(x, "Dial-Self", "true");
	http1_reply_header(x, "Dial-Addr", to);
	http1_reply(x, 200, NULL, NULL, 0);
}

static const struct route routes[] = {
	{"GET", "/", ACCESS_READ, serve_root, NULL},
	{"GET", "status", ACCESS_READ, serve_status, NULL},
	{"GET", "prefs", ACCESS_READ, serve_prefs, NULL},
	{"PATCH", "prefs", ACCESS_WRITE, serve_edit_prefs, NULL},
	{"POST", "check-prefs", ACCESS_WRITE, serve_check_prefs, NULL},
	{"POST", "start", ACCESS_WRITE, serve_start, NULL},
	{"POST", "login-interactive", ACCESS_WRITE, serve_login_interactive, NULL},
	{"POST", "logout", ACCESS_WRITE, serve_logout, NULL},
	{"PUT", "profiles/", ACCESS_WRITE, serve_new_profile, NULL},
	{"POST", "ping", ACCESS_READ, serve_ping, NULL},
	{"GET", "whois", ACCESS_READ, serve_whois, NULL},
	{"GET", "watch-ipn-bus", ACCESS_READ, serve_watch, NULL},
	{"GET", "netmap", ACCESS_WRITE, serve_netmap, NULL},
	{"POST", "debug", ACCESS_WRITE, serve_debug, NULL},
	{"POST", "dial", ACCESS_READ, serve_dial, NULL},
	{"GET", "derpmap", ACCESS_READ, serve_derp_map, NULL},
	{"GET", "usermetrics", ACCESS_READ, localapi_reply_metrics, NULL},
	{"GET", "metrics", ACCESS_READ, localapi_reply_metrics, NULL},
	{"GET", "serve-config", ACCESS_READ, serve_get_serve_config, NULL},
	{"POST", "serve-config", ACCESS_WRITE, serve_set_serve_config, NULL},
	{"GET", "cert/", ACCESS_WRITE, localapi_cert, NULL},
	{"GET", "cert-authority", ACCESS_READ, localapi_cert_authority, NULL},
	{"GET", "funnels", ACCESS_READ, serve_funnels, NULL},
	{"POST", "query-feature", ACCESS_READ, serve_query_feature, NULL},
	{"GET", "check-ip-forwarding", ACCESS_READ, NULL, "{\"Warning\":\"\"}"},
	{"GET", "check-udp-gro-forwarding", ACCESS_READ, NULL, "{\"Warning\":\"\"}"},
	{"GET", "check-so-mark-in-use", ACCESS_READ, NULL, "{\"UseSOMark\":true}"},
};

/* --- dispatch --- */

static bool same_method(const char *wanted, const char *method)
{
	return strcmp(wanted, method) == 0 ||
	       (strcmp(wanted, "GET") == 0 && strcmp(method, "HEAD") == 0);
}

/* path_fits() - A row that ends with '/' has a name behind it, but for "profiles/" */
static bool path_fits(const char *row, const char *name)
{
	const size_t length = strlen(row);

	return strcmp(row, name) == 0 ||
	       (strcmp(row, "cert/") == 0 && strncmp(row, name, length) == 0);
}

/* find_route() - The row for @x; NULL with @ret_known when only its method is wrong */
static const struct route *find_route(const struct http1_exchange *x, bool *ret_known)
{
	const size_t prefix = strlen(LOCALAPI_PREFIX);
	const char *name = x->path;

	*ret_known = false;
	if (strncmp(name, LOCALAPI_PREFIX, prefix) == 0)
		name += prefix;
	else if (strcmp(name, "/") != 0)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
		if (!path_fits(routes[i].path, name))
			continue;
		*ret_known = true;
		if (same_method(routes[i].method, x->head->method))
			return &routes[i];
	}
	return NULL;
}

/* is_from_browser() - Whether a web page may have sent it (DNS rebinding, CSRF) */
static bool is_from_browser(const struct http1_head *head)
{
	const char *host = http1_header(head, "Host");

	return http1_header(head, "Origin") || http1_header(head, "Referer") ||
	       (host && *host && strcmp(host, LOCALAPI_HOST) != 0);
}

static bool admit(void *user, struct http1_exchange *x)
{
	struct localapi_server *s = user;
	const struct route *route;
	bool known;

	if (is_from_browser(x->head)) {
		http1_reply_text(x, 403, "invalid localapi request");
		return false;
	}
	/* No Tailscale-Version: the official command line warns of any version but its own. */
	http1_reply_header(x, "Tailscale-Cap", STRINGIFY(TAILCFG_CAPABILITY_VERSION));
	http1_reply_header(x, "Content-Security-Policy",
			   "default-src 'none'; frame-ancestors 'none'");
	http1_reply_header(x, "X-Frame-Options", "DENY");
	http1_reply_header(x, "X-Content-Type-Options", "nosniff");
	route = find_route(x, &known);
	if (!route) {
		if (known)
			http1_reply_text(x, 405, "method not allowed");
		else
			http1_reply_text(x, 404, "pillion has no %.128s", x->path);
		return false;
	}
	if (route->access == ACCESS_WRITE && !node_may_write(s->node, x->uid)) {
		http1_reply_text(x, 403,
				 "access denied: only root and the operator may do this (sudo, or "
				 "once as root: pillion set --operator=USER)");
		return false;
	}
	if (route->access == ACCESS_READ && http1_has_body(x)) {
		http1_reply_text(x, 413, "%.128s takes no request body", x->path);
		return false;
	}
	return true;
}

static void serve(void *user, struct http1_exchange *x)
{
	struct localapi_server *s = user;
	bool known;
	const struct route *route = find_route(x, &known);

	if (route->serve)
		route->serve(s->node, x);
	else
		http1_reply(x, 200, "application/json", route->json, strlen(route->json));
}

/* on_accept() - Reserve connections for users with write access; other users get a share each */
static bool on_accept(void *user, int fd, struct http1_exchange *x)
{
	const struct localapi_server *s = user;

	(void)fd;
	x->privileged = node_may_write(s->node, x->uid);
	if (!x->privileged)
		x->source = x->uid % LOCALAPI_SOURCES;
	return true;
}

static const struct http1_server_hooks hooks = {
	.accept = on_accept,
	.admit = admit,
	.serve = serve,
};

int localapi_server_new(uv_loop_t *loop, int listen_fd, struct node *node,
			struct localapi_server **ret, struct error *err)
{
	return localapi_listen(loop, listen_fd, &hooks, &(struct localapi_server){.node = node},
			       ret, err);
}
