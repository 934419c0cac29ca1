/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/serve_output.c - served ports as the official command prints them */
#include "app/cli/serve_output.h"

#include "app/cli/output.h"
#include "base/cleanup.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_SHOWN 20 /* characters of a text */

/* describe() - "proxy" and "http://127.0.0.1:3000" of an ipn.HTTPHandler */
static const char *describe(const json_t *handler, char *what, size_t size)
{
	const char *path = text_of(handler, "Path"), *proxy = text_of(handler, "Proxy");
	const char *text = text_of(handler, "Text"), *redirect = text_of(handler, "Redirect");

	if (*text && strlen(text) > TEXT_SHOWN)
		snprintf(what, size, "\"%.*s...\"", TEXT_SHOWN - 3, text);
	else if (*text)
		snprintf(what, size, "\"%s\"", text);
	else
		snprintf(what, size, "%s", *path ? path : *proxy ? proxy : redirect);
	return *path ? "path" : *proxy ? "proxy" : *text ? "text" : "redirect";
}

static int compare_names(const void *a, const void *b)
{
	const char *left = *(const char *const *)a, *right = *(const char *const *)b;
	size_t long_left = strlen(left), long_right = strlen(right);

	return long_left == long_right ? strcmp(left, right)
				       : (long_left > long_right) - (long_left < long_right);
}

/* sorted_names() - The members of @object, short ones first; free() the list */
static const char **sorted_names(const json_t *object)
{
	const char **names = calloc(json_object_size(object) + 1, sizeof(*names));
	const char *name;
	json_t *value;
	size_t count = 0;

	if (!names)
		return NULL;
	json_object_foreach((json_t *)(uintptr_t)object, name, value)
		names[count++] = name;
	qsort(names, count, sizeof(*names), compare_names);
	return names;
}

/* A site, in parts: "http", "app.tailnet.ts.net", and ":8080" or "" where it is the usual port. */
struct site {
	const char *scheme;
	int host_length;
	const char *port;
};

static struct site site_of(const json_t *config, const char *name)
{
	const char *colon = strrchr(name, ':') ?: name + strlen(name);
	const char *port = *colon ? colon + 1 : "";
	const json_t *tcp = json_object_get(json_object_get(config, "TCP"), port);
	bool plain = json_is_true(json_object_get(tcp, "HTTP"));

	return (struct site){
		.scheme = plain ? "http" : "https",
		.host_length = (int)(colon - name),
		.port = strcmp(port, plain ? "80" : "443") == 0 ? "" : colon,
	};
}

static const char *reach(const json_t *config, const char *site)
{
	return json_is_true(json_object_get(json_object_get(config, "AllowFunnel"), site))
		       ? "Funnel on"
		       : "tailnet only";
}

static void print_web(const json_t *config, const char *name, const json_t *web)
{
	const json_t *handlers = json_object_get(web, "Handlers");
	_cleanup_free_ const char **mounts = sorted_names(handlers);
	struct site site = site_of(config, name);
	int width = 0;
	char what[512];

	if (strcmp(site.scheme, "http") == 0)
		print_line(stdout, "http://%.*s%s (%s)", (int)strcspn(name, ".:"), name, site.port,
			   reach(config, name));
	print_line(stdout, "%s://%.*s%s (%s)", site.scheme, site.host_length, name, site.port,
		   reach(config, name));
	for (size_t i = 0; mounts && mounts[i]; i++)
		width = (int)strlen(mounts[i]);
	for (size_t i = 0; mounts && mounts[i]; i++) {
		const char *kind =
			describe(json_object_get(handlers, mounts[i]), what, sizeof(what));

		print_line(stdout, "|-- %-*s %-5s %s", width, mounts[i], kind, what);
	}
	print_line(stdout, "%s", "");
}

/* print_forward() - The lines of a forwarded port; @reach: in brackets behind its name, or "" */
static void print_forward(const json_t *status, const char *port, const json_t *tcp,
			  const char *remark)
{
	const json_t *self = json_object_get(status, "Self"), *address;
	const char *to = text_of(tcp, "TCPForward");
	char name[PEER_NAME_MAX];
	size_t i;

	print_line(stdout, "|-- tcp://%s:%s%s", peer_name(self, name), port, remark);
	json_array_foreach(json_object_get(self, "TailscaleIPs"), i, address) {
		const char *text = json_string_value(address) ?: "";

		print_line(stdout, strchr(text, ':') ? "|-- tcp://[%s]:%s" : "|-- tcp://%s:%s",
			   text, port);
	}
	print_line(stdout, "|--> %s%s", strncmp(to, "unix:", 5) == 0 ? "" : "tcp://", to);
}

static void print_part(const json_t *config, const json_t *status)
{
	_cleanup_free_ const char **ports = sorted_names(json_object_get(config, "TCP"));
	_cleanup_free_ const char **sites = sorted_names(json_object_get(config, "Web"));
	const json_t *self = json_object_get(status, "Self");
	bool forwards = false;

	for (size_t i = 0; ports && ports[i]; i++) {
		const json_t *tcp = json_object_get(json_object_get(config, "TCP"), ports[i]);
		char name[PEER_NAME_MAX], site[PEER_NAME_MAX + 8], remark[64];

		if (!*text_of(tcp, "TCPForward"))
			continue;
		forwards = true;
		snprintf(site, sizeof(site), "%s:%s", peer_name(self, name), ports[i]);
		snprintf(remark, sizeof(remark), " (%s%s)",
			 *text_of(tcp, "TerminateTLS") ? "TLS-terminated TCP, " : "",
			 reach(config, site));
		print_forward(status, ports[i], tcp, remark);
	}
	if (forwards)
		print_line(stdout, "%s", "");
	for (size_t i = 0; sites && sites[i]; i++)
		print_web(config, sites[i],
			  json_object_get(json_object_get(config, "Web"), sites[i]));
}

/* print_funnels() - What the internet reaches */
static void print_funnels(const json_t *config)
{
	_cleanup_free_ const char **sites = sorted_names(json_object_get(config, "AllowFunnel"));
	bool any = false;

	for (size_t i = 0; sites && sites[i]; i++) {
		const char *port = strrchr(sites[i], ':') ?: "";
		bool tcp;

		if (strcmp(reach(config, sites[i]), "Funnel on") != 0 || !*port)
			continue;
		tcp = *text_of(json_object_get(json_object_get(config, "TCP"), port + 1),
			       "TCPForward") != 0;
		if (!any) {
			print_line(stdout, "%s", "");
			print_line(stdout, "# Funnel on:");
		}
		any = true;
		print_line(stdout, "#     - %s://%.*s%s", tcp ? "tcp" : "https",
			   (int)(port - sites[i]), sites[i],
			   !tcp && strcmp(port, ":443") == 0 ? "" : port);
	}
	if (any)
		print_line(stdout, "%s", "");
}

void serve_print_status(const json_t *config, const json_t *status)
{
	const json_t *services = json_object_get(config, "Services");
	const char *id;
	json_t *session;

	print_funnels(config);
	print_part(config, status);
	json_object_foreach(json_object_get(config, "Foreground"), id, session) {
		print_line(stdout, "in the foreground:");
		print_part(session, status);
	}
	json_object_foreach((json_t *)(uintptr_t)services, id, session)
		print_line(stdout, "%s: Services are not offered yet, so it is not served", id);
}

void serve_print_done(const json_t *config, const json_t *status, const char *site,
		      const char *port)
{
	const json_t *web = json_object_get(json_object_get(config, "Web"), site);
	const json_t *tcp = json_object_get(json_object_get(config, "TCP"), port);
	const json_t *handlers = json_object_get(web, "Handlers");
	json_int_t version = json_integer_value(json_object_get(tcp, "ProxyProtocol"));
	_cleanup_free_ const char **mounts = sorted_names(handlers);
	struct site at = site_of(config, site);
	bool ends_tls = *text_of(tcp, "TerminateTLS");
	char what[512], remark[64], proxy[32];

	if (!web) {
		snprintf(proxy, sizeof(proxy), "PROXY protocol v%d", (int)version);
		snprintf(remark, sizeof(remark), ends_tls || version ? " (%s%s%s)" : "%s%s%s",
			 ends_tls ? "TLS terminated" : "", ends_tls && version ? ", " : "",
			 version ? proxy : "");
		print_forward(status, port, tcp, remark);
		print_line(stdout, "%s", "");
	}
	for (size_t i = 0; mounts && mounts[i]; i++) {
		const char *kind =
			describe(json_object_get(handlers, mounts[i]), what, sizeof(what));

		print_line(stdout, "%s://%.*s%s%s", at.scheme, at.host_length, site, at.port,
			   mounts[i]);
		print_line(stdout, "|-- %-5s %s", kind, what);
		print_line(stdout, "%s", "");
	}
}
