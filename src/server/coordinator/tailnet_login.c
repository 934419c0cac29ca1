/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/coordinator/tailnet_login.c - POST /machine/register
 *
 * Which row holds, from the top:
 *
 *	node key       request                        answer
 *	any            of a client that is too old    Error
 *	known, other machine                          Error
 *	known          Expiry in the past             logged out (an ephemeral node is deleted)
 *	known, valid   anything                       as it is; nothing of Auth is looked at
 *	any            auth key                       checked; registered, or re-keyed when the
 *	                                              machine has a node of that user
 *	known, expired no auth key, no followup       NodeKeyExpired
 *	any            followup of a live login       held until the operator decides
 *	any            none of it                     AuthURL, a new login
 */
#include "base/cleanup.h"
#include "base/limits.h"
#include "server/coordinator/tailnet.h"
#include "server/web/source_limit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LOGIN_LIFE (30 * 60 * NSEC_PER_SEC)

/* Answers */

struct answer {
	const struct registry_node *node; /* NULL: none yet */
	bool expired;
	const char *auth_url;
	const char *error;
};

static int put_answer(const struct tailnet *t, const struct answer *a, struct buffer *out)
{
	struct json_writer w = json_writer_to(out);
	const struct registry_user *user =
		a->node ? registry_user(&t->registry, a->node->user) : NULL;
	const char *name = a->node && a->node->tags.count ? "tagged-devices"
			   : user                         ? user->name
							  : "";
	int64_t id = a->node && a->node->tags.count ? REGISTRY_TAGGED_USER
		     : user                         ? user->record.id
						    : 0;

	json_begin_object(&w, NULL);
	json_begin_object(&w, "User");
	json_put_int(&w, "ID", id);
	json_put_string(&w, "DisplayName", name);
	json_put_string(&w, "ProfilePicURL", "");
	json_put_time(&w, "Created", user ? user->created : JSON_TIME_NONE);
	json_end_object(&w);
	json_begin_object(&w, "Login");
	json_put_int(&w, "ID", id);
	json_put_string(&w, "Provider", "pillion");
	json_put_string(&w, "LoginName", name);
	json_put_string(&w, "DisplayName", name);
	json_put_string(&w, "ProfilePicURL", "");
	json_end_object(&w);
	json_put_bool(&w, "NodeKeyExpired", a->expired);
	json_put_bool(&w, "MachineAuthorized", a->node && a->node->authorized && !a->expired);
	json_put_string(&w, "AuthURL", a->auth_url);
	json_put_string(&w, "Error", a->error);
	json_end_object(&w);
	return json_writer_result(&w) < 0 ? json_writer_result(&w) : REGISTER_ANSWER;
}

/* put_error() - A refusal, as in @err */
static int put_error(const struct tailnet *t, const struct error *err, struct buffer *out)
{
	return put_answer(t, &(struct answer){.error = err->text}, out);
}

/* Becoming a node */

struct admission {
	const struct public_key *machine, *key, *old_key;
	const struct tailcfg_hostinfo *hostinfo;
	int64_t user;
	int64_t auth_key; /* 0: none */
	bool ephemeral;
	const struct string_list *tags; /* NULL: none */
};

/* existing() - The node that this is the next key of, or NULL; -EEXIST: the key is another
 * machine's by now */
static int existing(const struct tailnet *t, const struct admission *a, struct registry_node **ret,
		    struct error *err)
{
	struct registry_node *node = registry_node_of_key(&t->registry, a->key);

	if (node && !public_key_equal(&node->machine, a->machine))
		return error_set(err, -EEXIST, "this node key belongs to another machine");
	if (!node && !public_key_is_zero(a->old_key))
		node = registry_node_of_key(&t->registry, a->old_key);
	if (node && !public_key_equal(&node->machine, a->machine))
		node = NULL;
	*ret = node ? node : registry_node_of_machine(&t->registry, a->machine, a->user);
	return 0;
}

/* take_hostinfo() - The node's last map request is newer than a registration: its network and home
 * region stay */
static void take_hostinfo(struct registry_node *node, struct tailcfg_hostinfo *info)
{
	struct tailcfg_net_info *known = node->hostinfo.net_info;

	if (known && (!info->net_info || !info->net_info->preferred_derp)) {
		node->hostinfo.net_info = info->net_info;
		info->net_info = known;
	}
	tailcfg_hostinfo_clear(&node->hostinfo);
	node->hostinfo = *info;
	*info = (struct tailcfg_hostinfo){0};
}

/* admit() - Make it a node, or give the node its new key */
static int admit(struct tailnet *t, const struct admission *a, struct tailnet_time now,
		 struct registry_node **ret, struct error *err)
{
	struct registry_node *node = NULL;
	struct tailcfg_hostinfo info = {0};
	const char *hostname = a->hostinfo->hostname;
	bool tagged = a->tags && a->tags->count;
	int r = existing(t, a, &node, err);

	if (r == 0)
		r = members_copy(&tailcfg_hostinfo_members, a->hostinfo, &info);
	if (r == 0 && !node) {
		r = registry_add_node(&t->registry, a->machine, a->key, hostname, now.wall, &node,
				      err);
		if (r == 0)
			node->fresh = true;
	}
	if (r < 0) {
		tailcfg_hostinfo_clear(&info);
		return r == -ENOMEM ? error_set(err, r, "out of memory") : r;
	}
	if (!public_key_equal(&node->key, a->key))
		tailnet_key_gone(t, node);
	registry_set_key(&t->registry, node, a->key);
	take_hostinfo(node, &info);
	node->user = a->user;
	node->auth_key = a->auth_key;
	node->ephemeral = a->ephemeral;
	node->authorized = true;
	node->expiry = tailnet_new_expiry(t, tagged, now);
	node->expired = false;
	if (!node->named && hostname)
		(void)registry_rename(&t->registry, node, hostname, false);
	/* Connected or gone, it has as long as one that was just here. */
	if (node->ephemeral && !node->sessions)
		node->remove_at = now.boot + t->settings.ephemeral_timeout;
	tailnet_schedule(t, node, now);
	if (tagged || node->tags.count) {
		static const struct string_list none;

		r = tailnet_set_tags(t, node, tagged ? a->tags : &none, now);
		if (r < 0)
			return error_set(err, r, "out of memory");
	}
	registry_touch(&t->registry, &node->record);
	tailnet_settle_routes(t, node);
	tailnet_changed(t, node, CHANGE_NODE);
	if (node->is_router)
		tailnet_elect_routes(t);
	t->statistics.registrations++;
	*ret = node;
	return 0;
}

/* may_have_tags() - Whether the user may give a node these; the sentence in @err otherwise */
static int may_have_tags(const struct tailnet *t, int64_t user_id, const struct string_list *tags,
			 struct error *err)
{
	const struct registry_user *user = registry_user(&t->registry, user_id);

	for (uint32_t i = 0; i < tags->count; i++)
		if (!user || !policy_may_tag(applied_policy_source(t->policy), user->name, NULL,
					     tags->items[i]))
			return error_set(err, -EPERM,
					 "%s may not use %s: name them in the policy's tagOwners, "
					 "or use an auth key with that tag",
					 user ? user->name : "this user", tags->items[i]);
	return 0;
}

/* Logins */

/* login_find() - By id, or by a URL that ends in one */
static struct tailnet_login *login_find(const struct tailnet *t, const char *text)
{
	struct tailnet_login *login = t->logins;

	text = tailnet_id(text);
	while (login && strcmp(login->id, text) != 0)
		login = login->next;
	return login;
}

const struct tailnet_login *tailnet_login(const struct tailnet *t, const char *id)
{
	const struct tailnet_login *login = login_find(t, id);

	return login && !login->refused ? login : NULL;
}

static struct tailnet_login *login_of_key(const struct tailnet *t, const struct public_key *key)
{
	struct tailnet_login *login = t->logins;

	while (login && !public_key_equal(&login->key, key))
		login = login->next;
	return login;
}

void tailnet_login_remove(struct tailnet *t, struct tailnet_login **link)
{
	struct tailnet_login *login = *link;

	*link = login->next;
	t->login_count--;
	tailcfg_hostinfo_clear(&login->hostinfo);
	free(login);
}

/* login_drop() - One that the list holds; NULL */
static struct tailnet_login *login_drop(struct tailnet *t, const struct tailnet_login *login)
{
	struct tailnet_login **link = &t->logins;

	while (*link != login)
		link = &(*link)->next;
	tailnet_login_remove(t, link);
	return NULL;
}

/* drop_logins() - A machine is in: what waited for it, or with its key, is over */
static void drop_logins(struct tailnet *t, const struct registry_node *node)
{
	struct tailnet_login **link = &t->logins;

	while (*link)
		if (public_key_equal(&(*link)->machine, &node->machine) ||
		    public_key_equal(&(*link)->key, &node->key))
			tailnet_login_remove(t, link);
		else
			link = &(*link)->next;
}

static int register_by_key(struct tailnet *t, const struct public_key *machine,
			   const struct machine_register_request *q, struct tailnet_time now,
			   struct buffer *out, struct error *err)
{
	struct registry_node *node = NULL;
	struct registry_key *key = NULL;
	struct admission a = {
		.machine = machine,
		.key = &q->node_key,
		.old_key = &q->old_node_key,
		.hostinfo = &q->hostinfo,
		.tags = &q->hostinfo.request_tags,
	};
	int r = registry_check_key(&t->registry, q->auth_key, now.wall, &key, err);

	if (r == 0) {
		a.user = key->user;
		a.auth_key = key->record.id;
		a.ephemeral = key->ephemeral || q->ephemeral;
		/* The tags of a key replace those that the node asks for. */
		if (key->tags.count)
			a.tags = &key->tags;
		else
			r = may_have_tags(t, key->user, a.tags, err);
	}
	if (r == 0)
		r = admit(t, &a, now, &node, err);
	if (r < 0)
		return put_error(t, err, out);
	drop_logins(t, node);
	if (!key->used) {
		key->used = true;
		registry_touch(&t->registry, &key->record);
	}
	return put_answer(t, &(struct answer){.node = node}, out);
}

/* What some of the logins take. */
struct share {
	size_t count, bytes;
	struct tailnet_login **oldest, **largest;
};

static void add_to(struct share *s, struct tailnet_login **link)
{
	s->count++;
	s->bytes += (*link)->size;
	s->oldest = link;
	if (!s->largest || (*link)->size >= (*s->largest)->size)
		s->largest = link;
}

/* drop_one() - Strangers can make logins: where another one of @size bytes is too much for its machine,
 * its address or all, the oldest of these goes, or the largest. Return: whether one went */
static bool drop_one(struct tailnet *t, const struct public_key *machine, unsigned int source,
		     size_t size)
{
	struct share of_machine = {0}, of_source = {0}, of_all = {0};
	struct tailnet_login **link = NULL;

	for (struct tailnet_login **at = &t->logins; *at; at = &(*at)->next) {
		add_to(&of_all, at);
		if (public_key_equal(&(*at)->machine, machine))
			add_to(&of_machine, at);
		if ((*at)->source == source && source != WEB_SOURCE_LOCAL)
			add_to(&of_source, at);
	}
	if (of_machine.count >= LIMIT_CONTROL_PENDING_MACHINE)
		link = of_machine.oldest;
	else if (of_source.count >= LIMIT_CONTROL_PENDING_SOURCE)
		link = of_source.oldest;
	else if (of_source.bytes + size > LIMIT_CONTROL_PENDING_SOURCE_BYTES)
		link = of_source.largest;
	else if (of_all.count >= LIMIT_CONTROL_PENDING)
		link = of_all.oldest;
	else if (of_all.bytes + size > LIMIT_CONTROL_PENDING_BYTES)
		link = of_all.largest;
	if (link)
		tailnet_login_remove(t, link);
	return link;
}

/* size_of() - About how many bytes a login with @info takes: its texts, and its lists of structs */
static size_t size_of(const struct tailcfg_hostinfo *info)
{
	struct buffer text = BUFFER_INIT(LIMIT_HOSTINFO);
	struct json_writer w = json_writer_to(&text);
	size_t size = sizeof(struct tailnet_login) + info->service_count * sizeof(*info->services) +
		      info->routable_ips.count * sizeof(*info->routable_ips.items);

	tailcfg_hostinfo_encode(&w, NULL, info);
	size += text.length;
	buffer_free(&text);
	return size;
}

static struct tailnet_login *login_add(struct tailnet *t, const struct public_key *machine,
				       const struct machine_register_request *q,
				       struct tailnet_time now)
{
	size_t size = size_of(&q->hostinfo);
	struct tailnet_login *login;

	while (drop_one(t, machine, q->source, size))
		continue;
	login = calloc(1, sizeof(*login));
	if (!login || members_copy(&tailcfg_hostinfo_members, &q->hostinfo, &login->hostinfo) < 0) {
		free(login);
		return NULL;
	}
	registry_random_hex(login->id, TAILNET_LOGIN_ID_SIZE / 2);
	login->machine = *machine;
	login->key = q->node_key;
	login->old_key = q->old_node_key;
	login->ephemeral = q->ephemeral;
	login->source = q->source;
	login->size = size;
	login->until = now.boot + LOGIN_LIFE;
	login->next = t->logins;
	t->logins = login;
	t->login_count++;
	t->statistics.logins++;
	return login;
}

static int register_by_login(struct tailnet *t, const struct public_key *machine,
			     const struct machine_register_request *q, bool patient,
			     struct tailnet_time now, struct buffer *out, struct error *err)
{
	struct tailnet_login *login = q->followup ? login_find(t, q->followup) : NULL;
	char url[512];

	if (login && (!public_key_equal(&login->key, &q->node_key) ||
		      !public_key_equal(&login->machine, machine)))
		login = NULL;
	if (login && login->refused) {
		error_set(err, -EACCES, "the operator refused this login");
		login_drop(t, login);
		return put_error(t, err, out);
	}
	if (login && patient)
		return REGISTER_HOLD;
	/* A repeated request is not a second login, unless the first was refused. */
	if (!login)
		login = login_of_key(t, &q->node_key);
	if (login && login->refused)
		login = login_drop(t, login);
	if (login && !public_key_equal(&login->machine, machine)) {
		error_set(err, -EEXIST, "another machine is logging in with this node key");
		return put_error(t, err, out);
	}
	if (!login)
		login = login_add(t, machine, q, now);
	if (!login)
		return -ENOMEM;
	snprintf(url, sizeof(url), "%s/register/%s", t->settings.server_url, login->id);
	return put_answer(t, &(struct answer){.auth_url = url}, out);
}

static int no_login(const char *id, struct error *err)
{
	return error_set(err, -ENOENT, "no login %s is pending; the node may start a new one", id);
}

int tailnet_refuse(struct tailnet *t, const char *id, struct error *err)
{
	struct tailnet_login *login = login_find(t, id);

	if (!login || login->refused)
		return no_login(id, err);
	login->refused = true;
	return 0;
}

int tailnet_approve(struct tailnet *t, const char *id, struct registry_user *user,
		    const struct string_list *tags, struct tailnet_time now,
		    struct registry_node **ret, struct error *err)
{
	struct tailnet_login *login = login_find(t, id);
	struct admission a;
	int r;

	if (!login || login->refused)
		return no_login(id, err);
	if (!tags) {
		tags = &login->hostinfo.request_tags;
		r = may_have_tags(t, user->record.id, tags, err);
		if (r < 0)
			return r;
	}
	a = (struct admission){
		.machine = &login->machine,
		.key = &login->key,
		.old_key = &login->old_key,
		.hostinfo = &login->hostinfo,
		.user = user->record.id,
		.ephemeral = login->ephemeral,
		.tags = tags,
	};
	r = admit(t, &a, now, ret, err);
	if (r == 0)
		drop_logins(t, *ret);
	return r;
}

static int log_out(struct tailnet *t, struct registry_node *node, struct tailnet_time now,
		   struct buffer *out)
{
	struct answer a = {.node = node, .expired = true};
	int r = put_answer(t, &a, out);

	if (r != REGISTER_ANSWER)
		return r;
	if (node->ephemeral)
		tailnet_remove(t, node);
	else
		tailnet_set_expiry(t, node, now.wall, now);
	return r;
}

int tailnet_register(struct tailnet *t, const struct public_key *machine,
		     const struct machine_register_request *q, bool patient,
		     struct tailnet_time now, struct buffer *out, struct error *err)
{
	struct registry_node *node = registry_node_of_key(&t->registry, &q->node_key);
	bool leaving = q->expiry != JSON_TIME_NONE && q->expiry <= now.wall;

	if (q->version < TAILNET_VERSION_MIN) {
		error_set(err, -EPROTO,
			  "this client is too old: its capability version is %lld, and at least "
			  "%d (Tailscale " TAILNET_VERSION_MIN_IPN ") is needed",
			  (long long)q->version, TAILNET_VERSION_MIN);
		return put_error(t, err, out);
	}
	if (node && !public_key_equal(&node->machine, machine)) {
		error_set(err, -EEXIST, "this node key belongs to another machine");
		return put_error(t, err, out);
	}
	if (leaving)
		return node ? log_out(t, node, now, out)
			    : put_answer(t, &(struct answer){.expired = true}, out);
	if (node && !registry_node_is_expired(node, now.wall))
		return put_answer(t, &(struct answer){.node = node}, out);
	if (q->auth_key)
		return register_by_key(t, machine, q, now, out, err);
	if (node && !q->followup)
		return put_answer(t, &(struct answer){.node = node, .expired = true}, out);
	return register_by_login(t, machine, q, patient, now, out, err);
}
