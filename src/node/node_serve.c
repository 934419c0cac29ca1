/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/node_serve.c - the ports that this node serves
 *
 * DOC: Theory of operation
 *
 * The configuration is the text of TS_SERVE_CONFIG; without such a file, that of the state file,
 * which the LocalAPI sets. Each change of the text, and each change of this node's name, is taken
 * whole: parsed here, its targets' names resolved, and sent to the supervisor, which opens
 * listeners and passes the text on to the services process. A text that is broken changes nothing:
 * the last good one stays in force, and a warning names the fault.
 *
 * The services process is told, too, what control does for certificates of this node.
 *
 * Packets to served ports are diverted to the listeners (filter/divert.h). The services process
 * asks here for the owner of a peer's address, on a channel that the supervisor made.
 */
#define LOG_ROOM "serve"
#include "base/log.h"
#include "base/text.h"
#include "node/node_internal.h"
#include "node/node_run.h"
#include "privsep/records.h"
#include "transport/names.h"
#include "wire/serve_config.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(SERVE_TARGETS_MAX <= SERVE_WISH_TARGETS_MAX, "each target has a number");
_Static_assert(DIVERTS_MAX >= SERVE_DIVERTS_MAX, "each listener has an entry");

/* Names of targets may get other addresses; there is no event for that. */
#define RESOLVE_AGAIN_MS 30000

#define QUESTIONS_A_TURN 32

/* The channel to the services process. */
struct serve_link {
	uv_poll_t poll;
	struct node_serve *serve;
	int fd;
};

struct node_serve {
	struct node *node;
	struct buffer text; /* of the file, or the stored one, once there was one */
	bool have_text;
	char *domain;               /* our name, without the last dot; NULL: none yet */
	char *cert_domains;         /* node_certify_domains(), as it was sent last */
	bool signs;                 /* node_certify_signs(), the same */
	struct serve_config config; /* in force */
	char *sent_text;            /* the text of @config */

	/* Targets are resolved one after another. */
	struct privsep_serve_target *targets;
	size_t resolved; /* of them */
	bool has_names;  /* some target is no address */
	bool unsent;     /* the supervisor does not know these targets yet */
	struct names_query *query;
	uv_timer_t again;

	bool asked;   /* the supervisor has not answered yet */
	bool changed; /* since then */
	struct diverts diverts;
	struct serve_link *link; /* NULL: none */
};

static void resolve_next(struct node_serve *serve);

/* --- To the supervisor --- */

static void send_wish(struct node_serve *serve);

static void on_served(void *context, int result, const char *text)
{
	struct node_serve *serve = context;

	serve->asked = false;
	if (serve->node->stopping)
		return;
	if (result < 0) {
		log_error("ports can't be served: %s", text);
		node_warn(serve->node, NODE_WARN_SERVE, text);
	}
	if (serve->changed)
		send_wish(serve);
}

static void send_wish(struct node_serve *serve)
{
	const char *dot = serve->domain ? strchr(serve->domain, '.') : NULL;
	struct privsep_serve wish = {
		.targets = serve->targets,
		.target_count = serve->config.target_count,
		.config = serve->sent_text,
		.domain = serve->domain,
		.suffix = dot ? (char *)(uintptr_t)(dot + 1) : NULL,
		.cert_domains = serve->cert_domains,
		.signs = serve->signs,
	};
	int r;

	serve->changed = serve->asked;
	if (serve->asked)
		return;
	for (size_t i = 0; i < serve->config.port_count && i < SERVE_PORTS_MAX; i++)
		wish.ports[wish.port_count++] = serve->config.ports[i].port;
	r = privsep_client_serve(serve->node->privsep, &wish, on_served, serve);
	serve->asked = r == 0;
	if (r < 0)
		on_served(serve, r, strerror(-r));
}

/* --- Targets --- */

static bool same_addresses(const struct privsep_serve_target *a,
			   const struct privsep_serve_target *b)
{
	bool same = a->count == b->count;

	for (size_t i = 0; i < a->count && same; i++)
		same = endpoint_equal(&a->addresses[i], &b->addresses[i]);
	return same;
}

static void on_resolved(void *user, const struct address *addresses, size_t count,
			const struct error *err)
{
	struct node_serve *serve = user;
	const struct serve_target *target = &serve->config.targets[serve->resolved];
	struct privsep_serve_target found = {0}, *out = &serve->targets[serve->resolved];

	serve->query = NULL;
	for (size_t i = 0; i < count && found.count < SERVE_TARGET_ADDRESSES_MAX; i++)
		found.addresses[found.count++] = (struct endpoint){addresses[i], target->port};
	if (err && (serve->unsent || out->count > 0))
		log_warn("the target %s has no address: %s", target->text, err->text);
	if (!same_addresses(&found, out)) {
		serve->unsent = true;
		*out = found;
	}
	serve->resolved++;
	resolve_next(serve);
}

static void on_again(uv_timer_t *timer)
{
	struct node_serve *serve = timer->data;

	if (serve->query)
		return;
	serve->resolved = 0;
	resolve_next(serve);
}

/* resolve_next() - Find the addresses of the next target; when all have theirs, send the wish */
static void resolve_next(struct node_serve *serve)
{
	while (serve->resolved < serve->config.target_count) {
		const struct serve_target *target = &serve->config.targets[serve->resolved];
		struct privsep_serve_target *out = &serve->targets[serve->resolved];
		struct error err = {0};
		struct address address;

		if (target->host &&
		    address_parse(target->host, strlen(target->host), &address) == 0) {
			out->addresses[0] = (struct endpoint){address, target->port};
			out->count = 1;
		} else if (target->host) {
			serve->has_names = true;
			if (names_resolve(serve->node->names, target->host, on_resolved, serve,
					  &serve->query, &err) == 0)
				return;
			log_warn("the target %s has no address: %s", target->text, err.text);
		}
		serve->resolved++;
	}
	if (serve->has_names)
		uv_timer_start(&serve->again, on_again, RESOLVE_AGAIN_MS, 0);
	if (serve->unsent)
		send_wish(serve);
	serve->unsent = false;
}

/* --- The configuration --- */

/* named_file() - The path of TS_SERVE_CONFIG, which goes before the stored configuration; or NULL */
static const char *named_file(const struct node_serve *serve)
{
	return serve->node->start->config.serve_config;
}

/* refuse() - Keep what is in force, and say why */
static void refuse(struct node_serve *serve, const char *why)
{
	char text[ERROR_TEXT_MAX + 192];

	snprintf(text, sizeof(text), "%s is not used: %s. %s; %s",
		 named_file(serve) ? "TS_SERVE_CONFIG" : "the stored serve configuration", why,
		 serve->sent_text ? "The last good one stays in force" : "Nothing is served",
		 named_file(serve) ? "correct the file, it is read again then"
				   : "'pillion serve reset' removes it");
	if (node_warn(serve->node, NODE_WARN_SERVE, text))
		log_error("%s", text);
}

static void take(struct node_serve *serve, struct serve_config *config, char *text)
{
	struct privsep_serve_target *targets =
		calloc(config->target_count + 1, sizeof(*serve->targets));

	if (!targets) {
		serve_config_free(config);
		free(text);
		return;
	}
	names_cancel(serve->query);
	serve->query = NULL;
	uv_timer_stop(&serve->again);
	serve_config_free(&serve->config);
	free(serve->sent_text);
	free(serve->targets);
	serve->config = *config;
	serve->sent_text = text;
	serve->targets = targets;
	serve->resolved = 0;
	serve->has_names = false;
	serve->unsent = true;
	if (config->port_count > 0)
		log_info("serving %zu port%s", config->port_count,
			 config->port_count == 1 ? "" : "s");
	resolve_next(serve);
}

/* apply() - Take the text as it stands, under our name as it is */
static void apply(struct node_serve *serve)
{
	struct serve_config config = {0};
	struct error err = {0};
	char *text;
	int r;

	if (!serve->have_text)
		return;
	r = serve_config_parse((const char *)buffer_head(&serve->text), serve->text.length,
			       serve->domain, &config, &err);
	if (r == -EAGAIN)
		return; /* our name comes with the netmap */
	if (r < 0) {
		refuse(serve, err.text);
		return;
	}
	if (node_warn(serve->node, NODE_WARN_SERVE, config.warnings[0] ? config.warnings : NULL) &&
	    config.warnings[0])
		log_warn("serve configuration: %s", config.warnings);
	text = strndup((const char *)buffer_head(&serve->text), serve->text.length);
	if (text)
		take(serve, &config, text);
	else
		serve_config_free(&config);
}

/* use_text() - @text, which is taken over, from now on; @r < 0: it could not be read */
static void use_text(struct node_serve *serve, struct buffer *text, int r)
{
	char why[128];

	if (r < 0) {
		snprintf(why, sizeof(why), "it can't be read: %s", strerror(-r));
		refuse(serve, why);
		buffer_free(text);
		return;
	}
	buffer_free(&serve->text);
	serve->text = *text;
	serve->have_text = true;
	apply(serve);
}

void node_serve_file(struct node *node, int fd)
{
	struct buffer text = BUFFER_INIT(SERVE_CONFIG_MAX);
	_cleanup_close_ int owned = fd;
	int r = fd < 0 ? fd : file_read(fd, SERVE_CONFIG_MAX, &text);

	if (r == -ENOENT && !node->serve->have_text)
		return; /* not wanted, or not there yet, which the supervisor warns of */
	use_text(node->serve, &text, r);
}

void node_serve_stored(struct node *node)
{
	struct node_serve *serve = node->serve;
	struct buffer text = BUFFER_INIT(SERVE_CONFIG_MAX);
	int r;

	if (named_file(serve))
		return;
	r = state_file_serve_config(&node->state, &text);
	/* A former engine may have served what is no longer stored. */
	if (r == 0 && text.length == 0 && (serve->have_text || node->start->config.crash_count))
		r = buffer_append(&text, "{}", 2);
	if (r < 0 || text.length > 0)
		use_text(serve, &text, r);
	else
		buffer_free(&text);
}

int node_serve_config(struct node *node, struct buffer *out, char ret_etag[static NODE_ETAG_MAX])
{
	struct node_serve *serve = node->serve;
	const char *source = serve->sent_text ? serve->sent_text : "{}";
	_cleanup_(buffer_free) struct buffer text = BUFFER_INIT(SERVE_CONFIG_MAX);
	unsigned char hash[crypto_hash_sha256_BYTES];
	_cleanup_free_ char *compact = NULL;
	json_t *config;
	int r = serve_config_expand(source, strlen(source), serve->domain, &text);

	if (r < 0)
		return r;
	config = json_loadb((const char *)buffer_head(&text), text.length, 0, NULL);
	compact = json_dumps(config, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(config);
	if (!compact)
		return -ENOMEM;
	crypto_hash_sha256(hash, (const unsigned char *)compact, strlen(compact));
	sodium_bin2hex(ret_etag, NODE_ETAG_MAX, hash, sizeof(hash));
	return buffer_append(out, compact, strlen(compact));
}

/* check_etag() - Whether @etag, if there is one, is of the configuration in force */
static int check_etag(struct node *node, const char *etag, struct error *err)
{
	_cleanup_(buffer_free) struct buffer now = BUFFER_INIT(SERVE_CONFIG_MAX);
	char now_etag[NODE_ETAG_MAX];
	int r;

	if (!etag || !*etag)
		return 0;
	r = node_serve_config(node, &now, now_etag);
	if (r < 0)
		return error_set_errno(err, r, "read the serve configuration");
	return strcmp(etag, now_etag) == 0 ? 0 : error_set(err, -ESTALE, "etag mismatch");
}

static int lacks(struct error *err, const char *what, const char *remedy)
{
	return error_set(err, -EOPNOTSUPP, "%s is not supported yet: %s", what, remedy);
}

/* check_members() - Refuse what a file may have without effect */
static int check_members(const json_t *config, struct error *err)
{
	const char *site;
	json_t *on;

	if (json_object_size(json_object_get(config, "Foreground")) > 0)
		return lacks(err, "serving in the foreground", "add --bg");
	if (json_object_size(json_object_get(config, "Services")) > 0)
		return lacks(err, "serving for a Service", "leave --service out");
	json_object_foreach(json_object_get(config, "AllowFunnel"), site, on) {
		if (json_is_true(on))
			return lacks(err, "Funnel", "use 'serve', for the tailnet alone");
	}
	return 0;
}

/* check_change() - Refuse what can't be served, and another protocol on a port in use */
static int check_change(const struct serve_config *now, const struct serve_config *next,
			struct error *err)
{
	if (next->port_count > SERVE_PORTS_MAX)
		return error_set(err, -EINVAL, "more than %u ports", SERVE_PORTS_MAX);
	for (size_t i = 0; i < next->target_count; i++)
		if (next->targets[i].path)
			return lacks(err, "a Unix socket as target", "use a TCP port");
	for (size_t i = 0; i < next->site_count; i++)
		for (size_t k = 0; k < next->sites[i].handler_count; k++)
			if (next->sites[i].handlers[k].action == SERVE_PATH)
				return lacks(err, "serving files", "use a web server as target");
	for (size_t i = 0; i < next->port_count; i++) {
		const struct serve_port *port = &next->ports[i];
		const struct serve_port *used = serve_config_port(now, port->port);

		if (used && used->protocol != port->protocol)
			return error_set(err, -EINVAL,
					 "want to serve \"%s\", but port %u is already serving "
					 "\"%s\"; turn it off first",
					 serve_protocol_name(port->protocol), port->port,
					 serve_protocol_name(used->protocol));
	}
	return 0;
}

/* check_config() - Whether @text, which is @json, may replace what is in force */
static int check_config(struct node_serve *serve, const json_t *json, const char *text,
			struct error *err)
{
	struct serve_config next = {0};
	int r = check_members(json, err);

	if (r == 0 && strstr(text, SERVE_CERT_DOMAIN))
		r = error_set(err, -EINVAL,
			      "%s is for the file of TS_SERVE_CONFIG: write the node's name, %s",
			      SERVE_CERT_DOMAIN, serve->domain ? serve->domain : "NAME.TAILNET");
	if (r == 0)
		r = serve_config_parse(text, strlen(text), serve->domain, &next, err);
	if (r == 0)
		r = check_change(&serve->config, &next, err);
	serve_config_free(&next);
	return r;
}

int node_set_serve_config(struct node *node, const json_t *config, const char *etag,
			  struct error *err)
{
	struct node_serve *serve = node->serve;
	_cleanup_free_ char *text = json_dumps(config, JSON_COMPACT | JSON_SORT_KEYS);
	int r = node_check_usable(node, "change the serve configuration", err);

	if (r < 0)
		return r;
	if (!text)
		return error_set(err, -ENOMEM, "out of memory");
	if (named_file(serve))
		return error_set(err, -EEXIST,
				 "the file of TS_SERVE_CONFIG (--serve-config), %.200s, is in "
				 "force: change the file, or start without it",
				 named_file(serve));
	if (!node_has_map(node) || !*node->state.profile_id)
		return error_set(err, -EBUSY, "netMap is nil: the node has to be logged in first");
	r = check_etag(node, etag, err);
	if (r == 0)
		r = check_config(serve, config, text, err);
	if (r < 0)
		return r;
	r = state_file_set_serve_config(&node->state, text);
	if (r < 0)
		return error_set_errno(err, r, "store the serve configuration");
	node_store_state(node);
	node_serve_stored(node);
	return 0;
}

/* take_rights() - What control does for certificates of this node; whether that is news */
static bool take_rights(struct node_serve *serve)
{
	char *domains = node_certify_domains(serve->node);
	bool signs = node_certify_signs(serve->node);
	bool same = signs == serve->signs &&
		    (domains ? serve->cert_domains && strcmp(domains, serve->cert_domains) == 0
			     : !serve->cert_domains);

	free(serve->cert_domains);
	serve->cert_domains = domains;
	serve->signs = signs;
	return !same;
}

void node_serve_name(struct node *node)
{
	bool rights = take_rights(node->serve);
	const struct netmap *map = node_netmap(node);
	const char *name = map && map->self && map->self->name ? map->self->name : "";
	size_t length = strlen(name);

	while (length > 0 && name[length - 1] == '.')
		length--;
	if (length == 0 || (node->serve->domain && strlen(node->serve->domain) == length &&
			    strncmp(node->serve->domain, name, length) == 0)) {
		if (rights && node->serve->sent_text && !node->serve->unsent)
			send_wish(node->serve);
		return;
	}
	free(node->serve->domain);
	node->serve->domain = strndup(name, length);
	apply(node->serve);
}

/* --- Packets --- */

void node_serve_diverts(struct node *node, const struct privsep_divert *diverts, size_t count)
{
	struct diverts *out = &node->serve->diverts;

	out->count = 0;
	for (size_t i = 0; i < count; i++)
		out->list[out->count++] = (struct divert){diverts[i].to, diverts[i].high};
	node_serve_tunnel(node);
}

void node_serve_tunnel(struct node *node)
{
	if (node->tunnel)
		tunnel_set_diverts(node->tunnel, &node->serve->diverts);
}

/* --- Questions of the services process --- */

/* put_text() - Into a field of fixed size; a longer text is left out */
#define put_text(field, text)                               \
	do {                                                \
		const char *text_ = (text);                 \
		if (text_ && strlen(text_) < sizeof(field)) \
			strcpy(field, text_);               \
	} while (0)

static void describe(struct node *node, const struct address *address,
		     struct privsep_person *person)
{
	_cleanup_free_ char *granted = NULL;
	struct node_identity who;

	if (!node_identify(node, address, &who))
		return;
	person->known = 1;
	person->tagged = who.node->tags.count > 0;
	if (who.user && !person->tagged) {
		put_text(person->login, who.user->login_name);
		put_text(person->name, who.user->display_name);
		put_text(person->picture, who.user->profile_pic_url);
	}
	granted = node_identity_grants(node, &who);
	put_text(person->capabilities, granted);
}

static void on_link_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void close_link(struct node_serve *serve)
{
	struct serve_link *link = serve->link;

	if (!link)
		return;
	serve->link = NULL;
	uv_poll_stop(&link->poll);
	close(link->fd);
	uv_close((uv_handle_t *)&link->poll, on_link_closed);
}

int node_serve_answer(struct node *node, const union privsep_message *answer, int fd)
{
	struct serve_link *link = node->serve ? node->serve->link : NULL;

	return link ? privsep_send(link->fd, PRIVSEP_FROM_ENGINE, answer, &fd, fd >= 0 ? 1 : 0)
		    : -ENOTCONN;
}

/* answer() - One question of the services process; 0 or negative errno */
static int answer(struct node_serve *serve)
{
	union privsep_message question, answer = {.header.type = PRIVSEP_PERSON};
	struct privsep_fds fds;
	int r = privsep_receive(serve->link->fd, PRIVSEP_FROM_SERVICES, &question, &fds);

	if (r < 0)
		return r;
	if (question.header.type == PRIVSEP_WHO) {
		answer.header.id = question.header.id;
		describe(serve->node, &question.who.address, &answer.person.person);
		r = node_serve_answer(serve->node, &answer, -1);
	} else {
		r = node_certify_ask(serve->node, &question, fds.count > 0 ? fds.fd[0] : -1);
	}
	privsep_fds_close(&fds);
	return r == -EAGAIN ? 0 : r; /* a full channel: its question is asked again */
}

static void on_link(uv_poll_t *poll, int status, int events)
{
	struct serve_link *link = poll->data;
	struct node_serve *serve = link->serve;
	int r = 0;

	(void)status;
	(void)events;
	for (int left = QUESTIONS_A_TURN; left > 0 && r == 0; left--)
		r = answer(serve);
	if (r < 0 && r != -EAGAIN)
		close_link(serve); /* the next services process comes with another */
}

void node_serve_link(struct node *node, int fd)
{
	struct node_serve *serve = node->serve;
	struct serve_link *link = calloc(1, sizeof(*link));

	node_certify_forget(node); /* the next services process asks anew */
	close_link(serve);
	if (!link || uv_poll_init(node->loop, &link->poll, fd) < 0) {
		free(link);
		close(fd);
		return;
	}
	link->serve = serve;
	link->fd = fd;
	link->poll.data = link;
	serve->link = link;
	uv_poll_start(&link->poll, UV_READABLE, on_link);
}

int node_serve_open(struct node *node)
{
	struct node_serve *serve = calloc(1, sizeof(*serve));

	if (!serve)
		return -ENOMEM;
	serve->node = node;
	serve->text = BUFFER_INIT(SERVE_CONFIG_MAX);
	uv_timer_init(node->loop, &serve->again);
	serve->again.data = serve;
	node->serve = serve;
	node_serve_file(node, privsep_client_open_file(node->privsep, PRIVSEP_FILE_SERVE_CONFIG));
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void node_serve_close(struct node *node)
{
	struct node_serve *serve = node->serve;

	if (!serve)
		return;
	node->serve = NULL;
	node_certify_forget(node);
	close_link(serve);
	names_cancel(serve->query);
	serve_config_free(&serve->config);
	buffer_free(&serve->text);
	free(serve->sent_text);
	free(serve->targets);
	free(serve->domain);
	free(serve->cert_domains);
	uv_close((uv_handle_t *)&serve->again, on_closed);
}
