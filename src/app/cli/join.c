/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * app/cli/join.c - apply settings, log in, wait for Running
 *
 * Theory of operation. The bus is opened before anything is changed, so that no
 * event is missed; after the change one status shows the state at that time, and
 * the bus what happens next. Settings alone are a PATCH; a key, another server or a
 * login need `start` with whole prefs, which are those of the node with the mask
 * applied here.
 */
#include "app/cli/join.h"

#include "app/cli/client.h"
#include "app/cli/command.h"
#include "app/cli/output.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "node/prefs.h"

#include <errno.h>
#include <string.h>

#define STATE_COUNT    7
#define STATE_TEXT_MAX 32

/* After so long without an event, the health warnings are read and printed. */
#define LOOK_INTERVAL (3 * NSEC_PER_SEC)

/* ipn.State, by number as the bus has it. */
static const char *const state_names[STATE_COUNT] = {
	"NoState", "InUseOtherUser", "NeedsLogin", "NeedsMachineAuth",
	"Stopped", "Starting",       "Running",
};

/* The node's state, as far as the bus has reported it. */
struct progress {
	char state[STATE_TEXT_MAX];
	char url[2048]; /* the last one that was printed */
	bool approval_printed;
	bool logged_in; /* a login finished while we watched */
	char message[ERROR_TEXT_MAX];
	json_t *troubles; /* health warnings that were printed */
};

/* print_state() - For a program that reads our output; @url: or NULL */
static void print_state(const char *state, const char *url)
{
	json_t *value = json_pack("{s:s*,s:s}", "AuthURL", url, "BackendState", state);

	print_json(value);
	json_decref(value);
	fflush(stdout);
}

static void set_state(struct progress *p, const char *state)
{
	snprintf(p->state, sizeof(p->state), "%s", state);
}

static void say_url(const struct join *j, struct progress *p, const char *url)
{
	if (!*url || strcmp(url, p->url) == 0 || (j->auth_key && *j->auth_key))
		return;
	snprintf(p->url, sizeof(p->url), "%s", url);
	if (j->json) {
		print_state(p->state, url);
		return;
	}
	fprintf(stderr, "\nTo log in, visit:\n\n\t");
	print_line(stderr, "%s", url);
	fputc('\n', stderr);
	if (j->qr)
		print_qr(stderr, url);
}

/* admin_url() - Where an administrator of the tailnet approves nodes; heap, or NULL */
static char *admin_url(const struct join *j)
{
	_cleanup_json_ json_t *json = NULL;
	_cleanup_(prefs_free) struct prefs prefs = {0};
	const char *server;
	char *url = NULL;

	if (localapi_call(j->socket, "GET", "/localapi/v0/prefs", NULL, &json, NULL) < 0 ||
	    prefs_decode(json, &prefs, NULL) < 0)
		return NULL;
	server = prefs_control_url(&prefs);
	if (strcmp(server, PREFS_DEFAULT_CONTROL_URL) == 0)
		server = "https://login.tailscale.com";
	return asprintf(&url, "%s/admin", server) < 0 ? NULL : url;
}

static void say_approval(const struct join *j, struct progress *p)
{
	_cleanup_free_ char *url = NULL;

	if (p->approval_printed || strcmp(p->state, "NeedsMachineAuth") != 0)
		return;
	p->approval_printed = true;
	if (j->json) {
		print_state(p->state, NULL);
		return;
	}
	url = admin_url(j);
	fprintf(stderr, "\nTo approve this node, visit as administrator:\n\n\t");
	print_line(stderr, "%s", url ?: "the administrator's page of the control server");
	fputc('\n', stderr);
}

/* hear() - One ipn.Notify */
static void hear(const struct join *j, struct progress *p, const json_t *notify)
{
	const json_t *state = json_object_get(notify, "State");

	if (json_is_integer(state) && json_integer_value(state) >= 0 &&
	    json_integer_value(state) < STATE_COUNT)
		set_state(p, state_names[json_integer_value(state)]);
	/* The official daemon writes members without a value as null. */
	if (json_is_object(json_object_get(notify, "LoginFinished")))
		p->logged_in = true;
	printable(p->message, sizeof(p->message), text_of(notify, "ErrMessage"),
		  strlen(text_of(notify, "ErrMessage")));
	say_url(j, p, text_of(notify, "BrowseToURL"));
	say_approval(j, p);
}

/* whole_prefs() - The node's prefs with the mask applied */
static json_t *whole_prefs(const struct join *j, bool *ret_other_server, struct error *err)
{
	_cleanup_json_ json_t *current = NULL;
	_cleanup_(prefs_free) struct prefs prefs = {0};
	_cleanup_free_ char *before = NULL;

	if (localapi_call(j->socket, "GET", "/localapi/v0/prefs", NULL, &current, err) < 0)
		return NULL;
	if (prefs_decode(current, &prefs, err) < 0)
		return NULL;
	before = strdup(prefs_control_url(&prefs));
	if (!before || prefs_edit(&prefs, j->masked, err) < 0)
		return NULL;
	*ret_other_server = !prefs_same_server(before, prefs_control_url(&prefs));
	return prefs_json(&prefs);
}

static int log_in(const struct join *j, json_t *prefs, bool interactive, struct error *err)
{
	_cleanup_json_ json_t *options = json_object();
	int r;

	(void)json_object_set_new(prefs, "WantRunning", json_true());
	(void)json_object_set_new(prefs, "LoggedOut", json_false());
	if (json_object_set(options, "UpdatePrefs", prefs) < 0 ||
	    json_object_set_new(options, "AuthKey", json_string(j->auth_key ? j->auth_key : "")) <
		    0)
		return error_set(err, -ENOMEM, "out of memory");
	r = localapi_call(j->socket, "POST", "/localapi/v0/start", options, NULL, err);
	explicit_bzero((char *)json_string_value(json_object_get(options, "AuthKey")),
		       json_string_length(json_object_get(options, "AuthKey")));
	if (r == 0 && interactive)
		r = localapi_call(j->socket, "POST", "/localapi/v0/login-interactive", NULL, NULL,
				  err);
	return r;
}

static int change(const struct join *j, const json_t *status, struct error *err)
{
	_cleanup_json_ json_t *prefs = NULL, *masked = NULL;
	bool known = json_is_true(json_object_get(status, "HaveNodeKey"));
	bool expired = strcmp(text_of(status, "BackendState"), "NeedsLogin") == 0;
	bool other_server = false, interactive;

	prefs = whole_prefs(j, &other_server, err);
	if (!prefs)
		return err->code;
	/* As the official command line: a key alone is enough for a node that was logged in once.
	 */
	if (other_server && known && !expired && !j->force)
		return error_set(err, -EINVAL,
				 "can't change --login-server without --force-reauth: this node is "
				 "logged in, and would have to log in again to come back");
	interactive = j->force || !known || (!j->auth_key && expired);
	if (j->auth_key || interactive)
		return log_in(j, prefs, interactive, err);
	masked = json_deep_copy(j->masked);
	if (!masked || prefs_masked_set(masked, "WantRunning", json_true()) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	return localapi_call(j->socket, "PATCH", "/localapi/v0/prefs", masked, NULL, err);
}

static bool holds(const json_t *list, const json_t *line)
{
	const json_t *other;
	size_t i;

	json_array_foreach(list, i, other)
		if (json_equal(other, line))
			return true;
	return false;
}

/* say_troubles() - Print each new health warning, so that a waiting person knows the cause */
static void say_troubles(const struct join *j, struct progress *p)
{
	_cleanup_json_ json_t *status = NULL;
	struct error err = {0};
	json_t *health, *line;
	size_t i;

	if (j->json || localapi_status(j->socket, false, &status, &err) < 0)
		return;
	health = json_object_get(status, "Health");
	json_array_foreach(health, i, line) {
		if (!holds(p->troubles, line))
			print_line(stderr, "waiting: %s", json_string_value(line) ?: "");
	}
	json_decref(p->troubles);
	p->troubles = json_incref(health);
}

/* say_done() - "connected as web.tail.example, 100.64.0.1" */
static void say_done(const struct join *j)
{
	_cleanup_json_ json_t *status = NULL;
	char name[PEER_NAME_MAX];
	struct error err = {0};

	if (localapi_status(j->socket, false, &status, &err) < 0)
		return;
	if (j->json) {
		print_state("Running", NULL);
		return;
	}
	fprintf(stderr, "%sconnected%s as ", style(stderr, STYLE_GOOD), style(stderr, STYLE_PLAIN));
	printable_put(stderr, peer_name(json_object_get(status, "Self"), name), 0);
	if (json_array_size(json_object_get(status, "TailscaleIPs")) > 0)
		fputs(", ", stderr);
	print_list(stderr, json_object_get(status, "TailscaleIPs"));
	fputc('\n', stderr);
}

/* say_timeout() - Print the state and the health warnings when the time is over */
static int say_timeout(const struct join *j, const struct progress *p)
{
	_cleanup_json_ json_t *status = NULL;
	const json_t *health, *line;
	struct error err = {0};
	size_t i;

	complain(EXIT_FAILS,
		 "the node is not running after %.0f seconds, its state is %s. It goes on "
		 "trying; see 'pillion status' and the daemon's log",
		 (double)j->timeout / NSEC_PER_SEC, p->state);
	if (localapi_status(j->socket, false, &status, &err) < 0)
		return EXIT_FAILS;
	health = json_object_get(status, "Health");
	json_array_foreach(health, i, line)
		print_line(stderr, "  - %s", json_string_value(line) ?: "");
	return EXIT_FAILS;
}

static int wait_for_running(const struct join *j, struct unix_http *bus, struct progress *p)
{
	nanoseconds deadline = j->timeout ? clock_boottime() + j->timeout : DEADLINE_NEVER;

	for (;;) {
		_cleanup_json_ json_t *notify = NULL;
		nanoseconds left = deadline - clock_boottime();
		nanoseconds most = left < LOOK_INTERVAL ? left : LOOK_INTERVAL;
		int r;

		if (*p->message)
			return complain(EXIT_FAILS, "%s", p->message);
		if (strcmp(p->state, "Running") == 0 && (!j->force || p->logged_in)) {
			say_done(j);
			return EXIT_OK;
		}
		if (left <= 0)
			return say_timeout(j, p);
		r = localapi_stream_next(bus, (int)(most / NSEC_PER_MSEC) + 1, &notify);
		if (r == 0) {
			if (left > LOOK_INTERVAL)
				say_troubles(j, p);
			continue;
		}
		if (r < 0)
			return complain(
				EXIT_FAILS,
				"the daemon ended the connection (%s); it may be restarting: "
				"try again, and see its log",
				strerror(-r));
		hear(j, p, notify);
	}
}

int join_tailnet(const struct join *j)
{
	_cleanup_(unix_http_close) struct unix_http bus = {.fd = -1};
	_cleanup_json_ json_t *before = NULL, *after = NULL;
	struct progress p = {0};
	struct error err = {0};
	int r;

	r = localapi_status(j->socket, false, &before, &err);
	if (r == 0)
		r = localapi_stream_open(j->socket, "/localapi/v0/watch-ipn-bus?mask=0", &bus,
					 &err);
	if (r == 0)
		r = change(j, before, &err);
	if (r == 0)
		r = localapi_status(j->socket, false, &after, &err);
	if (r < 0)
		return complain(EXIT_FAILS, "%s", err.text);
	set_state(&p, text_of(after, "BackendState"));
	/* The URL of an older login attempt is not the one that was asked for. */
	if (!j->force || strcmp(text_of(before, "AuthURL"), text_of(after, "AuthURL")) != 0)
		say_url(j, &p, text_of(after, "AuthURL"));
	say_approval(j, &p);
	r = wait_for_running(j, &bus, &p);
	json_decref(p.troubles);
	return r;
}
