/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/node_machine.c - the machine: trusted roots, resolver, operator, addresses
 *
 * The engine opens no file. The supervisor passes a descriptor of each, and another one when the
 * file changes.
 */
#define LOG_ROOM "node"
#include "base/limits.h"
#include "base/log.h"
#include "node/node_internal.h"
#include "node/node_run.h"
#include "privsep/records.h"
#include "privsep/root_files.h"
#include "transport/names.h"
#include "transport/proxy.h"
#include "transport/tls.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* read_fd() - The whole of @fd, which is closed; negative errno if @fd is one */
static int read_fd(int fd, size_t limit, struct buffer *ret)
{
	_cleanup_close_ int owned = fd;

	return fd < 0 ? fd : file_read(fd, limit, ret);
}

_Static_assert(PRIVSEP_ROOT_FILES <= TLS_ROOT_SOURCES, "each file is a source");

/* take_roots() - Trust the authorities in @fd, in place of those that the file held before */
static void take_roots(struct node *node, unsigned int source, int fd)
{
	_cleanup_(buffer_free) struct buffer pem = BUFFER_INIT(LIMIT_CA_BUNDLE);
	struct error err = {0};
	int r = privsep_read_roots(source, fd, &pem, &err);

	if (r == 0)
		r = tls_context_set_roots(node->tls, source,
					  pem.length ? (const char *)buffer_head(&pem) : NULL,
					  pem.length, privsep_root_files[source].name, &err);
	if (r < 0)
		log_warn("%s; pillion keeps the authorities that it has", err.text);
}

/* check_roots() - Warn if no authority is known */
static void check_roots(struct node *node)
{
	node_warn(node, NODE_WARN_CERTIFICATES,
		  tls_context_roots(node->tls) > 0
			  ? NULL
			  : "no certificate authority is known: install ca-certificates, or set "
			    "--ca-file (TS_CA_FILE) to a PEM file");
}

static void configure_names(struct node *node)
{
	struct error err = {0};

	if (names_configure(node->names, (const char *)buffer_head(&node->resolv_conf),
			    node->resolv_conf.length, (const char *)buffer_head(&node->hosts),
			    node->hosts.length, &err) < 0)
		log_warn("%s", err.text);
}

/* take_text() - Replace @text by the contents of @fd */
static void take_text(struct buffer *text, int fd)
{
	buffer_consume(text, text->length);
	(void)read_fd(fd, text->limit, text);
}

/* open_proxy() - Take over HTTPS_PROXY; warn if it can't be used */
static int open_proxy(struct node *node)
{
	const struct privsep_start *config = &node->start->config;
	char text[ERROR_TEXT_MAX];
	struct error err = {0};
	int r = proxy_create(config->https_proxy, config->no_proxy, &node->proxy, &err);

	if (r == -EINVAL) {
		snprintf(text, sizeof(text),
			 "%.400s: pillion connects without a proxy; write HTTPS_PROXY as "
			 "http://[user:password@]host:port",
			 err.text);
		log_warn("%s", text);
		node_warn(node, NODE_WARN_PROXY, text);
		return 0;
	}
	if (r == 0 && node->proxy)
		log_info("connecting to control and relays through HTTPS_PROXY");
	return r;
}

int node_machine_open(struct node *node, struct error *err)
{
	int r;

	node->resolv_conf = BUFFER_INIT(LIMIT_RESOLVER_TEXT);
	node->hosts = BUFFER_INIT(LIMIT_RESOLVER_TEXT);
	r = names_create(node->loop, node->sockets, &node->names, err);
	if (r < 0)
		return r;
	take_text(&node->resolv_conf,
		  privsep_client_open_file(node->privsep, PRIVSEP_FILE_RESOLV_CONF));
	take_text(&node->hosts, privsep_client_open_file(node->privsep, PRIVSEP_FILE_HOSTS));
	configure_names(node);

	r = open_proxy(node);
	if (r < 0)
		return error_set(err, r, "out of memory");
	r = tls_context_create(&node->tls, err);
	if (r < 0)
		return r;
	for (unsigned int i = 0; i < PRIVSEP_ROOT_FILES; i++)
		take_roots(node, i,
			   privsep_client_open_file(node->privsep, privsep_root_files[i].file));
	check_roots(node);
	return 0;
}

void node_machine_close(struct node *node)
{
	names_free(node->names);
	proxy_free(node->proxy);
	tls_context_release(node->tls);
	buffer_free(&node->resolv_conf);
	buffer_free(&node->hosts);
	free(node->interfaces);
	free(node->interface_prefixes);
}

/*
 * uid_of() - The uid of @name in the text of a passwd file; NODE_NO_OPERATOR: no such user
 *
 * fgetpwent() reads the given stream: it opens no file and loads no plug-in.
 */
static uid_t uid_of(struct buffer *passwd, const char *name)
{
	uid_t uid = NODE_NO_OPERATOR;
	struct passwd *entry;
	FILE *stream;

	stream = passwd->length ? fmemopen(buffer_head(passwd), passwd->length, "r") : NULL;
	while (stream && uid == NODE_NO_OPERATOR && (entry = fgetpwent(stream)))
		if (strcmp(entry->pw_name, name) == 0)
			uid = entry->pw_uid;
	if (stream)
		fclose(stream);
	return uid;
}

int node_machine_find_operator(struct node *node)
{
	const char *name = node->state.prefs.operator_user;
	struct buffer passwd = BUFFER_INIT(LIMIT_PASSWD);

	node->operator_uid = NODE_NO_OPERATOR;
	if (!name || !*name)
		return 0;
	take_text(&passwd, privsep_client_open_file(node->privsep, PRIVSEP_FILE_PASSWD));
	node->operator_uid = uid_of(&passwd, name);
	buffer_free(&passwd);
	return node->operator_uid == NODE_NO_OPERATOR ? -ENOENT : 0;
}

void node_file_changed(struct node *node, enum privsep_file_name name, int fd)
{
	int source = privsep_root_source(name);

	switch (name) {
	case PRIVSEP_FILE_RESOLV_CONF:
	case PRIVSEP_FILE_HOSTS:
		take_text(name == PRIVSEP_FILE_HOSTS ? &node->hosts : &node->resolv_conf, fd);
		configure_names(node);
		return;
	case PRIVSEP_FILE_SERVE_CONFIG:
		node_serve_file(node, fd);
		return;
	case PRIVSEP_FILE_PASSWD:
		if (fd >= 0)
			close(fd);
		(void)node_machine_find_operator(node);
		return;
	case PRIVSEP_FILE_AUTH_KEY:
		if (fd >= 0)
			close(fd);
		/* A new auth key may replace one that control refused. */
		if (node->control && (node->needs_person || node->key_expired)) {
			node->login_asked = true;
			if (node->login_request == LOGIN_GOES_ON)
				node->login_request = LOGIN_AGAIN;
			node_changed(node, NODE_CHANGED_INTENT);
		}
		return;
	default:
		break;
	}
	if (source >= 0) {
		take_roots(node, (unsigned int)source, fd);
		check_roots(node);
	} else if (fd >= 0) {
		close(fd);
	}
}

/* same_networks() - Whether the addresses of all links but our own, which come first, are unchanged */
static bool same_networks(const struct node *node, const struct path_interface_address *list,
			  const struct prefix *prefixes, size_t others)
{
	if (others != node->other_interface_count)
		return false;
	for (size_t i = 0; i < others; i++)
		if (!address_equal(&list[i].address, &node->interfaces[i].address) ||
		    !prefix_equal(&prefixes[i], &node->interface_prefixes[i]))
			return false;
	return true;
}

void node_interfaces(struct node *node, const struct interfaces *interfaces)
{
	struct path_interface_address *list;
	struct prefix *prefixes;
	size_t count = 0, others = 0;
	bool moved;

	list = calloc(interfaces->count + 1, sizeof(*list));
	prefixes = calloc(interfaces->count + 1, sizeof(*prefixes));
	if (!list || !prefixes) {
		free(list);
		free(prefixes);
		return;
	}
	for (int own = 0; own <= 1; own++) {
		others = count; /* at last: of the first round */
		for (size_t i = 0; i < interfaces->count; i++) {
			const struct interface_address *a = &interfaces->list[i];

			if (!(a->flags & INTERFACE_UP) ||
			    (strcmp(a->name, node->start->config.tun_name) == 0) != own)
				continue;
			list[count].address = a->prefix.address;
			list[count].own_tunnel = own;
			prefixes[count++] = prefix_mask(&a->prefix);
		}
	}
	/* A change of our own addresses is no reason to look for new paths. */
	moved = node->interfaces && !same_networks(node, list, prefixes, others);
	free(node->interfaces);
	free(node->interface_prefixes);
	node->interfaces = list;
	node->interface_prefixes = prefixes;
	node->interface_count = count;
	node->other_interface_count = others;
	if (node->tunnel) {
		tunnel_set_interfaces(node->tunnel, list, node->interface_count);
		if (moved)
			tunnel_link_changed(node->tunnel);
	}
	node_apply_filter(node);
	node_tell_hostinfo(node);
	if (node->network_wanted)
		node_apply_network(node); /* these networks decide which routes are allowed */
	if (moved && node->control && node->control_started)
		control_client_retry_now(node->control);
}
