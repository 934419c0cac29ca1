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
#include "base/small_file.h"
#include "base/text.h"
#include "node/node_acme.h"
#include "node/node_internal.h"
#include "node/node_run.h"
#include "privsep/records.h"
#include "transport/names.h"
#include "wire/serve_config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(SERVE_TARGETS_MAX + NODE_ACME_TARGETS <= SERVE_WISH_TARGETS_MAX,
	       "each has a number");
_Static_assert(SERVE_PATHS_MAX <= SERVE_WISH_PATHS_MAX, "each path has a number");
_Static_assert(SERVE_PATH_MAX <= SERVE_WISH_PATH_MAX, "each path fits");
_Static_assert(DIVERTS_MAX >= SERVE_DIVERTS_MAX, "each listener has an entry");

/* Names of targets may get other addresses; there is no event for that. */
#define RESOLVE_AGAIN_MS 30000

/* Those of certificates are asked only every two months: rounds between two of their questions. */
#define ACME_ROUNDS 120u

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
	json_t *foreground;         /* sessions of commands in the foreground, by id; NULL: none */
	char *domain;               /* our name, without the last dot; NULL: none yet */
	char *cert_domains;         /* node_certify_domains(), as it was sent last */
	bool signs;                 /* node_certify_signs(), the same */
	struct serve_config config; /* in force */
	char *sent_text;            /* the text of @config */
	struct node_acme acme;      /* how it gets certificates */

	/* Targets are resolved one after another. */
	struct privsep_serve_target *targets;
	size_t resolved; /* of them */
	bool has_names;  /* some target is no address */
	unsigned int rounds;
	bool unsent; /* the supervisor does not know these targets yet */
	struct names_query *query;
	uv_timer_t again;

	bool keep;        /* services run even if nothing is served */
	bool asked;       /* the supervisor has not answered yet */
	bool changed;     /* since then */
	uint16_t peerapi; /* our port; 0: we have no address yet */
	struct divert diverts[DIVERTS_MAX];
	size_t divert_count;
	struct serve_link *link; /* NULL: none */
};

static void resolve_next(struct node_serve *serve);

/* --- Targets: of the configuration, then of certificates --- */

/* target_count() - 0 before the first configuration: the PeerAPI is served without one */
static size_t target_count(const struct node_serve *serve)
{
	return serve->targets ? serve->config.target_count + serve->acme.target_count : 0;
}

static const struct serve_target *target_of(const struct node_serve *serve, size_t index)
{
	return index < serve->config.target_count
		       ? &serve->config.targets[index]
		       : &serve->acme.targets[index - serve->config.target_count];
}

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

/* is_taken() - Whether a port is served, so that the PeerAPI needs another one */
static bool is_taken(void *data, uint16_t port)
{
	return serve_config_port(&((struct node_serve *)data)->config, port) != NULL;
}

static void send_wish(struct node_serve *serve)
{
	const char *dot = serve->domain ? strchr(serve->domain, '.') : NULL;
	struct privsep_serve wish = {
		.peerapi = serve->peerapi,
		.targets = serve->targets,
		.target_count = target_count(serve),
		.paths = serve->config.paths,
		.path_count = serve->config.path_count,
		.config = serve->sent_text,
		.domain = serve->domain,
		.suffix = dot ? (char *)(uintptr_t)(dot + 1) : NULL,
		.cert_domains = serve->cert_domains,
		.signs = serve->signs,
		.acme = serve->acme.acme,
		.keep = serve->keep,
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
	const struct serve_target *target = target_of(serve, serve->resolved);
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
	serve->rounds++;
	resolve_next(serve);
}

/* is_due() - Whether the name of the target @out is to be asked for in this round */
static bool is_due(struct node_serve *serve, const struct privsep_serve_target *out)
{
	if (serve->resolved < serve->config.target_count)
		return true;
	if (!serve->keep && !serve_config_uses_tls(&serve->config))
		return false;
	serve->has_names = true;
	return out->count == 0 || serve->rounds % ACME_ROUNDS == 0;
}

/* resolve_next() - Find the addresses of the next target; when all have theirs, send the wish */
static void resolve_next(struct node_serve *serve)
{
	while (serve->resolved < target_count(serve)) {
		const struct serve_target *target = target_of(serve, serve->resolved);
		struct privsep_serve_target *out = &serve->targets[serve->resolved];
		struct error err = {0};
		struct address address;

		out->socket = target->path; /* of @config, which lives as long */
		if (target->host &&
		    address_parse(target->host, strlen(target->host), &address) == 0) {
			out->addresses[0] = (struct endpoint){address, target->port};
			out->count = 1;
		} else if (target->host && is_due(serve, out)) {
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
	serve->peerapi = node_peerapi_choose(serve->node, is_taken, serve);
	if (serve->unsent)
		send_wish(serve);
	serve->unsent = false;
}

/* --- The configuration --- */

const char *node_serve_file_name(const struct node *node)
{
	return node->start->config.serve_config;
}

/* refuse() - Keep what is in force, and say why */
static void refuse(struct node_serve *serve, const char *why)
{
	char text[ERROR_TEXT_MAX + 192];

	const char *file = node_serve_file_name(serve->node);
	bool inlined = file && strcmp(file, START_SERVE_CONFIG_JSON) == 0;

	snprintf(text, sizeof(text), "%s is not used: %s. %s; %s",
		 inlined ? START_SERVE_CONFIG_JSON
		 : file  ? "TS_SERVE_CONFIG"
			 : "the stored serve configuration",
		 why, serve->sent_text ? "The last good one stays in force" : "Nothing is served",
		 inlined ? "correct the variable, and start again"
		 : file  ? "correct the file, it is read again then"
			 : "'pillion serve reset' removes it");
	if (node_warn(serve->node, NODE_WARN_SERVE, text))
		log_error("%s", text);
}

/* tell_funnel() - Let control know whether the internet may come in, and people why it can't */
static void tell_funnel(struct node_serve *serve)
{
	struct node *node = serve->node;
	bool funnels = serve->config.funnel_count > 0;
	bool named = serve->config.names_funnel;
	struct error err = {0};

	if (funnels != node->funnels || named != node->names_funnel) {
		node->funnels = funnels;
		node->names_funnel = named;
		node_changed(node, NODE_CHANGED_SERVED);
	}
	if (!funnels || node_ingress_check(node, &err) == 0)
		err.text[0] = 0;
	if (node_warn(node, NODE_WARN_FUNNEL, err.text[0] ? err.text : NULL) && err.text[0])
		log_warn("%s", err.text);
}

static void take(struct node_serve *serve, struct serve_config *config, char *text)
{
	struct privsep_serve_target *targets =
		calloc(config->target_count + NODE_ACME_TARGETS, sizeof(*serve->targets));

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
	tell_funnel(serve);
	if (config->port_count > 0)
		log_info("serving %zu port%s", config->port_count,
			 config->port_count == 1 ? "" : "s");
	resolve_next(serve);
}

/*
 * whole_text() - The text with the sessions in the foreground, and without those that it names itself
 *
 * A text that is no object stays as it is: reading it finds the fault, with its line.
 */
static char *whole_text(struct node_serve *serve)
{
	const char *text = (const char *)buffer_head(&serve->text) ?: "";
	json_t *root = json_loadb(text, serve->text.length, JSON_REJECT_DUPLICATES, NULL);
	char *whole = NULL;

	if (!json_is_object(root) || (!serve->foreground && !json_object_get(root, "Foreground"))) {
		whole = strndup(text, serve->text.length);
	} else {
		(void)json_object_del(root, "Foreground");
		if (!serve->foreground ||
		    json_object_set(root, "Foreground", serve->foreground) == 0)
			whole = json_dumps(root, JSON_COMPACT);
	}
	json_decref(root);
	return whole;
}

static int check_root(const struct node *node, const char *path, struct error *err)
{
	const char *roots = node->start->config.serve_roots;
	size_t length;

	if (serve_root(roots, path, &length))
		return 0;
	return error_set(err, -EPERM,
			 "%.200s is outside of the folders that may be served (%.200s): start with "
			 "--serve-root=FOLDER (TS_SERVE_ROOT)",
			 path, roots ?: "none");
}

int node_serve_check_roots(const struct node *node, const struct serve_config *config,
			   struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < config->path_count; i++)
		r = check_root(node, config->paths[i], err);
	for (size_t i = 0; r == 0 && i < config->target_count; i++)
		if (config->targets[i].path)
			r = check_root(node, config->targets[i].path, err);
	return r;
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
	text = whole_text(serve);
	if (!text)
		return;
	r = serve_config_parse(text, strlen(text), serve->domain, &config, &err);
	if (r < 0) {
		if (r != -EAGAIN) /* else our name comes with the netmap */
			refuse(serve, err.text);
		free(text);
		return;
	}
	if (node_serve_check_roots(serve->node, &config, &err) < 0)
		serve_config_warn(&config, err.text);
	if (node_warn(serve->node, NODE_WARN_SERVE, config.warnings[0] ? config.warnings : NULL) &&
	    config.warnings[0])
		log_warn("serve configuration: %s", config.warnings);
	take(serve, &config, text);
}

/* use_text() - @text, which is taken over, from now on; @r < 0: it could not be read */
static void use_text(struct node_serve *serve, struct buffer *text, int r)
{
	char why[128];

	if (r < 0) {
		snprintf(why, sizeof(why), "it can't be read: %s", file_problem(r));
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

void node_serve_take(struct node *node, json_t *foreground)
{
	struct node_serve *serve = node->serve;
	struct buffer text = BUFFER_INIT(SERVE_CONFIG_MAX);
	int r;

	json_decref(serve->foreground);
	serve->foreground = json_object_size(foreground) > 0 ? foreground : NULL;
	if (!serve->foreground)
		json_decref(foreground);
	r = state_file_serve_config(&node->state, &text);
	/* A former engine may have served what is no longer stored. */
	if (r == 0 && text.length == 0 &&
	    (serve->have_text || serve->foreground || node->start->config.crash_count))
		r = buffer_append(&text, "{}", 2);
	if (r < 0 || text.length > 0)
		use_text(serve, &text, r);
	else
		buffer_free(&text);
}

void node_serve_stored(struct node *node)
{
	json_t *ended = node->serve->foreground, *session;
	const char *id;

	if (node_serve_file_name(node))
		return;
	node->serve->foreground = NULL; /* another profile has other ports */
	node_serve_take(node, NULL);
	json_object_foreach(ended, id, session) {
		node_bus_end(node, id);
	}
	json_decref(ended);
}

const struct serve_config *node_serve_in_force(const struct node *node, const char **ret_text)
{
	*ret_text = node->serve->sent_text ?: "{}";
	return &node->serve->config;
}

const char *node_serve_domain(const struct node *node)
{
	return node->serve->domain;
}

json_t *node_serve_foreground(const struct node *node)
{
	return node->serve ? node->serve->foreground : NULL;
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
	if (!same) {
		node_acme_clear(&serve->acme);
		node_acme_make(&serve->node->start->config, serve->node->proxy, domains != NULL,
			       &serve->acme);
	}
	return !same;
}

/* take_name() - The name of this node in the netmap; whether that is news */
static bool take_name(struct node_serve *serve)
{
	const struct netmap *map = node_netmap(serve->node);
	const char *name = map && map->self && map->self->name ? map->self->name : "";
	size_t length = strlen(name);

	while (length > 0 && name[length - 1] == '.')
		length--;
	if (length == 0 || (serve->domain && strlen(serve->domain) == length &&
			    strncmp(serve->domain, name, length) == 0))
		return false;
	free(serve->domain);
	serve->domain = strndup(name, length);
	return true;
}

void node_serve_name(struct node *node)
{
	struct node_serve *serve = node->serve;
	bool rights = take_rights(serve);
	uint16_t peerapi;

	tell_funnel(serve);
	if (take_name(serve) || rights)
		apply(serve); /* its targets are others */
	/* Not before the configuration, without which the ports of a former engine would close. */
	peerapi = node_peerapi_choose(node, is_taken, serve);
	if (peerapi != serve->peerapi && !serve->unsent) {
		serve->peerapi = peerapi;
		send_wish(serve);
	}
}

void node_serve_keep(struct node *node, bool keep)
{
	struct node_serve *serve = node->serve;

	if (!serve || serve->keep == keep)
		return;
	serve->keep = keep;
	serve->unsent = true;
	if (serve->query)
		return; /* the round sends it */
	serve->resolved = 0;
	resolve_next(serve);
}

/* --- Packets --- */

void node_serve_diverts(struct node *node, const struct privsep_divert *diverts, size_t count)
{
	struct node_serve *serve = node->serve;

	serve->divert_count = node->peerapi_count = 0;
	for (size_t i = 0; i < count; i++) {
		serve->diverts[serve->divert_count++] =
			(struct divert){diverts[i].to, diverts[i].high, diverts[i].retired != 0};
		if (diverts[i].to.port == node->serve->peerapi &&
		    node->peerapi_count < ARRAY_SIZE(node->peerapi))
			node->peerapi[node->peerapi_count++] = diverts[i].to;
	}
	node_serve_tunnel(node);
	node_changed(node, NODE_CHANGED_SERVED);
}

void node_serve_tunnel(struct node *node)
{
	if (!node->tunnel)
		return;
	tunnel_set_diverts(node->tunnel, node->serve->diverts, node->serve->divert_count);
	tunnel_set_peerapi(node->tunnel, node->peerapi_count > 0 ? node->peerapi[0].port : 0);
}

/* --- Questions of the services process --- */

/* put_text() - Into a field of fixed size; a longer text is left out */
#define put_text(field, text)                               \
	do {                                                \
		const char *text_ = (text);                 \
		if (text_ && strlen(text_) < sizeof(field)) \
			strcpy(field, text_);               \
	} while (0)

/* describe_own() - Our addresses as the peer knows them */
static void describe_own(const struct node *node, const struct node_identity *who,
			 struct privsep_person *person)
{
	const struct address *masquerade[] = {&who->node->self_v4_masq_for_this_peer,
					      &who->node->self_v6_masq_for_this_peer};
	struct node_addresses own = node_own_addresses(node);

	for (uint32_t i = 0; i < own.count; i++) {
		size_t at = own.list[i].address.family == ADDRESS_V6;

		if (person->own[at].family == ADDRESS_NONE)
			person->own[at] = own.list[i].address;
	}
	for (size_t i = 0; i < ARRAY_SIZE(masquerade); i++)
		if (masquerade[i]->family != ADDRESS_NONE && !who->is_self)
			person->own[i] = *masquerade[i];
}

static void describe(struct node *node, const struct address *address,
		     struct privsep_person *person)
{
	_cleanup_free_ char *granted = NULL;
	struct node_identity who;
	char name[64];

	if (!node_identify(node, address, &who))
		return;
	person->known = 1;
	person->tagged = who.node->tags.count > 0;
	describe_own(node, &who, person);
	person->ingress = node_ingress_trusts(node, &who);
	put_text(person->node, tailcfg_node_display_name(who.node, name));
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
		r = privsep_send(serve->link->fd, PRIVSEP_FROM_ENGINE, &answer, NULL, 0);
	} else {
		r = question.header.type == PRIVSEP_CERT_ANSWER ||
				    question.header.type == PRIVSEP_CERT_STATE
			    ? serve->node->cert_events->receive(serve->node, &question,
								fds.count > 0 ? fds.fd[0] : -1)
			    : node_certify_ask(serve->node, serve->link->fd, &question,
					       fds.count > 0 ? fds.fd[0] : -1);
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
	node->cert_events->linked(node);
}

int node_serve_send(struct node *node, const union privsep_message *message)
{
	struct serve_link *link = node->serve ? node->serve->link : NULL;

	return link ? privsep_send(link->fd, PRIVSEP_FROM_ENGINE, message, NULL, 0) : -ENOTCONN;
}

void node_serve_people(struct node *node)
{
	union privsep_message m = {.header.type = PRIVSEP_PEOPLE};

	(void)node_serve_send(node, &m); /* if it gets lost, they ask again after a while */
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
	node_acme_make(&node->start->config, node->proxy, false, &serve->acme);
	serve->targets = calloc(NODE_ACME_TARGETS, sizeof(*serve->targets));
	if (!serve->targets)
		return -ENOMEM;
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
	json_decref(serve->foreground);
	node_acme_clear(&serve->acme);
	free(serve->sent_text);
	free(serve->targets);
	free(serve->domain);
	free(serve->cert_domains);
	uv_close((uv_handle_t *)&serve->again, on_closed);
}
