/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/coordinator/login_pages.c - the pages of login URLs and of SSH sessions
 *
 * Theory of operation
 *   A person with the URL sees the pending login. With the operator's page key ('pillion control
 *   page-key create') that person may decide it: the key goes with the form, so there is no cookie and
 *   no session that another site could use. Without such a key, or where it would travel in
 *   plain text, the page shows the command instead of a form.
 */
#define LOG_ROOM "control"
#include "server/coordinator/coordinator_internal.h"

#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "transport/url.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define PAGE_MAX     16384
#define DEFAULT_USER "default" /* made when it is first named */

static const char head[] =
	"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport "
	"content=\"width=device-width\"><title>pillion control</title>"
	"<style>body{font:1.1em/1.5 sans-serif;max-width:40em;margin:auto;padding:1em;"
	"overflow-wrap:anywhere}pre{background:#8882;padding:1em;white-space:pre-wrap}"
	"label{display:block;margin:1em 0}input{font:inherit}"
	"input:not([type=checkbox]){width:100%;box-sizing:border-box}"
	"button{font:inherit;margin-right:1em}:root{color-scheme:light dark}</style>";

static void put_text(struct buffer *out, const char *text)
{
	for (; text && *text; text++) {
		const char *plain = *text == '<'   ? "&lt;"
				    : *text == '>' ? "&gt;"
				    : *text == '&' ? "&amp;"
				    : *text == '"' ? "&quot;"
						   : NULL;

		if (plain)
			(void)buffer_append(out, plain, strlen(plain));
		else
			(void)buffer_append(out, (unsigned char)*text < ' ' ? " " : text, 1);
	}
}

/* put() - HTML, where each '$' is the place of one of the texts behind it, which may be outsiders' */
static void put(struct buffer *out, const char *html, ...)
{
	va_list texts;

	va_start(texts, html);
	while (*html) {
		size_t length = strcspn(html, "$");

		(void)buffer_append(out, html, length);
		html += length;
		if (*html == '$') {
			put_text(out, va_arg(texts, const char *));
			html++;
		}
	}
	va_end(texts);
}

/* reply() - Send the page. One that is too long loses its end, which does no harm */
static void reply(struct http1_exchange *x, int status, struct buffer *page)
{
	http1_reply_header(x, "Cache-Control", "no-store");
	http1_reply_header(x, "Referrer-Policy", "no-referrer");
	http1_reply_header(x, "X-Content-Type-Options", "nosniff");
	http1_reply_header(x, "Content-Security-Policy",
			   "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
			   "frame-ancestors 'none'; base-uri 'none'");
	http1_reply(x, status, "text/html; charset=utf-8", buffer_head(page), page->length);
	buffer_free(page);
}

/* say() - A page with a heading and a sentence */
static void say(struct http1_exchange *x, int status, const char *heading, const char *text)
{
	struct buffer page = BUFFER_INIT(PAGE_MAX);

	put(&page, head);
	put(&page, "<h1>$</h1><p>$", heading, text);
	reply(x, status, &page);
}

bool pages_may_approve(const struct coordinator *c)
{
	const char *url = c->tailnet.settings.server_url;
	struct url parsed;
	struct address address;

	if (url_parse(url, &parsed, NULL) < 0)
		return false;
	return parsed.tls || strcmp(parsed.host, "localhost") == 0 ||
	       (address_parse(parsed.host, strlen(parsed.host), &address) == 0 &&
		address_is_loopback(&address));
}

/* put_decision() - The form, or the command */
static void put_decision(const struct coordinator *c, struct buffer *out, bool login,
			 const char *id)
{
	if (c->tailnet.registry.has_page_key && pages_may_approve(c)) {
		put(out, "<form method=post autocomplete=on>");
		if (login)
			put(out,
			    "<label>Owner of the node<input name=user value=" DEFAULT_USER
			    " required>"
			    "</label><label><input name=new type=checkbox value=yes> This is a "
			    "new user</label>");
		put(out, "<label>Page key of this server<input name=key type=password "
			 "autocomplete=current-password required></label>"
			 "<button name=verdict value=approve>Approve</button>"
			 "<button name=verdict value=reject>Reject</button></form><p>Or, on "
			 "the server:");
	} else {
		put(out, "<p>To approve, the operator of this server runs:");
	}
	put(out,
	    "<pre>pillion control $ approve $$</pre>"
	    "<p>The $ continues on its own; you can close this page.",
	    login ? "nodes" : "ssh", id, login ? " --user NAME" : "", login ? "node" : "session");
}

static void show_login(const struct coordinator *c, struct http1_exchange *x,
		       const struct tailnet_login *login)
{
	const struct registry *registry = &c->tailnet.registry;
	const struct registry_node *other = registry_first_of_machine(registry, &login->machine);
	const struct registry_user *user = other ? registry_user(registry, other->user) : NULL;
	struct buffer page = BUFFER_INIT(PAGE_MAX);
	char key[KEY_TEXT_MAX];

	put(&page, head);
	put(&page,
	    "<h1>A node wants to join</h1><p>Its name is <b>$</b> ($). To make sure that it is "
	    "yours, compare its key with the one that 'pillion status' shows there: <code>$</code>",
	    login->hostinfo.hostname, login->hostinfo.os,
	    public_key_format(&login->key, KEY_NODE, key));
	if (login->hostinfo.request_tags.count)
		put(&page, "<p>It asks for these tags:");
	for (uint32_t i = 0; i < login->hostinfo.request_tags.count; i++)
		put(&page, " $", login->hostinfo.request_tags.items[i]);
	if (other)
		put(&page,
		    "<p>This machine has the node <b>$</b> of <b>$</b>. With another owner it "
		    "becomes a second node.",
		    other->name, user ? user->name : "a deleted user");
	put_decision(c, &page, true, login->id);
	reply(x, 200, &page);
}

static const char *node_name(const struct coordinator *c, int64_t id)
{
	const struct registry_node *node = registry_node(&c->tailnet.registry, id);

	return node ? node->name : "a node that is gone";
}

static void show_check(const struct coordinator *c, struct http1_exchange *x,
		       const struct ssh_check *check)
{
	struct buffer page = BUFFER_INIT(PAGE_MAX);

	put(&page, head);
	put(&page,
	    "<h1>An SSH session wants to start</h1><p>From <b>$</b> to <b>$</b> as <b>$</b>. "
	    "Approve it only if you are starting it now.",
	    node_name(c, check->from), node_name(c, check->to), check->user);
	put_decision(c, &page, false, check->id);
	reply(x, 200, &page);
}

static void field_of(struct http1_exchange *x, const char *name, char *out, size_t size)
{
	(void)form_field((char *)buffer_head(x->body), x->body->length, name, out, size);
}

/* may_decide() - Whether the form has the page key; answered otherwise */
static bool may_decide(struct coordinator *c, struct http1_exchange *x)
{
	char key[128];
	bool good;

	field_of(x, "key", key, sizeof(key));
	good = pages_may_approve(c) && registry_check_page_key(&c->tailnet.registry, key);
	explicit_bzero(key, sizeof(key));
	if (!good) {
		/* Anyone can cause this line: one a minute. */
		if (clock_boottime() >= c->page_warning_at) {
			log_warn("wrong page key at %s", x->path);
			c->page_warning_at = clock_boottime() + 60 * NSEC_PER_SEC;
		}
		say(x, 403, "Wrong page key",
		    c->tailnet.registry.has_page_key
			    ? "Go back and try again, or create a new one with 'pillion control "
			      "page-key create'."
			    : "This server has no page key. Create one with 'pillion control "
			      "page-key create'.");
	}
	return good;
}

/* written() - Whether the disk has it; answered otherwise */
static bool written(struct coordinator *c, struct http1_exchange *x)
{
	struct error err = {0};

	coordinator_settle(c);
	if (coordinator_write(c, &err) == 0)
		return true;
	say(x, 503, "Not stored yet", "The database can't be written. The server tries again.");
	return false;
}

static void reject_login(struct coordinator *c, struct http1_exchange *x, const char *id)
{
	struct error err = {0};

	if (tailnet_refuse(&c->tailnet, id, &err) < 0) {
		say(x, 400, "Not rejected", err.text);
		return;
	}
	log_info("refused in the page login=%s", id);
	machine_decided(c);
	say(x, 200, "Rejected", "The node is notified. You can close this page.");
}

static void approve_login(struct coordinator *c, struct http1_exchange *x, const char *id)
{
	struct registry_user *user;
	struct registry_node *node = NULL;
	struct tailnet_time now = tailnet_now();
	struct error err = {0};
	char name[160], choice[16];
	int r;

	if (!may_decide(c, x))
		return;
	field_of(x, "verdict", choice, sizeof(choice));
	if (strcmp(choice, "reject") == 0) {
		reject_login(c, x, id);
		return;
	}
	field_of(x, "user", name, sizeof(name));
	field_of(x, "new", choice, sizeof(choice));
	user = registry_user_named(&c->tailnet.registry, name);
	if (!user && strcmp(name, DEFAULT_USER) != 0 && strcmp(choice, "yes") != 0) {
		say(x, 400, "Unknown user",
		    "Go back and correct the name, or check \"This is a new user\".");
		return;
	}
	r = user ? 0 : registry_add_user(&c->tailnet.registry, name, now.wall, &user, &err);
	if (r == 0)
		r = tailnet_approve(&c->tailnet, id, user, NULL, now, &node, &err);
	if (r < 0) {
		say(x, r == -ENOMEM ? 503 : 400, "Not approved", err.text);
		return;
	}
	log_info("approved in the page node=%lld name=%s user=%s", (long long)node->record.id,
		 node->name, user->name);
	machine_decided(c);
	if (written(c, x))
		say(x, 200, "Approved", node->name);
}

static void decide_check(struct coordinator *c, struct http1_exchange *x, struct ssh_check *check)
{
	char verdict[16];
	bool approved;

	if (!may_decide(c, x))
		return;
	field_of(x, "verdict", verdict, sizeof(verdict));
	approved = strcmp(verdict, "approve") == 0;
	if (tailnet_ssh_decide(&c->tailnet, check, approved, tailnet_now()) < 0) {
		say(x, 503, "Out of memory", "Try again.");
		return;
	}
	log_info("an SSH session was %s in the page from=%lld to=%lld user=%s",
		 approved ? "approved" : "refused", (long long)check->from, (long long)check->to,
		 check->user);
	machine_decided(c);
	say(x, 200, approved ? "Approved" : "Rejected", "You can close this page.");
}

static bool is_id(const char *text)
{
	return strlen(text) == TAILNET_LOGIN_ID_SIZE &&
	       strspn(text, "0123456789abcdef") == TAILNET_LOGIN_ID_SIZE;
}

bool pages_serve(struct coordinator *c, struct http1_exchange *x)
{
	bool login = strncmp(x->path, "/register/", strlen("/register/")) == 0;
	bool ssh = strncmp(x->path, "/ssh/", strlen("/ssh/")) == 0;
	bool post = strcmp(x->head->method, "POST") == 0;
	const char *id = x->path + (login ? strlen("/register/") : strlen("/ssh/"));
	const struct tailnet_login *waits;
	struct ssh_check *check;

	if (!login && !ssh)
		return false;
	if (!post && strcmp(x->head->method, "GET") != 0 && strcmp(x->head->method, "HEAD") != 0) {
		http1_reply_text(x, 405, "GET or POST is wanted");
		return true;
	}
	waits = login && is_id(id) ? tailnet_login(&c->tailnet, id) : NULL;
	check = ssh && is_id(id) ? tailnet_ssh_check(&c->tailnet, id) : NULL;
	if (check && check->verdict != SSH_WAITS)
		check = NULL;
	if (!waits && !check)
		say(x, 404, "Nothing is pending here",
		    login ? "Already handled, or expired. The node will show a new link."
			  : "Already handled, or expired. Start the session again.");
	else if (post && login)
		approve_login(c, x, id);
	else if (post)
		decide_check(c, x, check);
	else if (login)
		show_login(c, x, waits);
	else
		show_check(c, x, check);
	return true;
}
