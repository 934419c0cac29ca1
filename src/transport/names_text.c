/* SPDX-License-Identifier: BSD-3-Clause */
/* transport/names_text.c - what resolv.conf and hosts say, and what a host name is */
#include "transport/names_text.h"
#include "base/cleanup.h"
#include "transport/names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What glibc caps these at. */
#define NDOTS_MAX   15
#define TIMEOUT_MAX 30
#define TRIES_MAX   5

#define BLANKS " \t\r\v\f"

/* option_number() - The number of "name:number", at most @max; -1 if it is another option */
static int option_number(const char *word, const char *name, int max)
{
	const char *digits = word + strlen(name);
	long number;

	if (strncmp(word, name, strlen(name)) != 0 || !*digits ||
	    digits[strspn(digits, "0123456789")])
		return -1;
	number = strtol(digits, NULL, 10);
	return number < max ? (int)number : max;
}

static void parse_option(const char *word, struct resolv_conf *c)
{
	int n;

	if ((n = option_number(word, "ndots:", NDOTS_MAX)) >= 0)
		c->ndots = n;
	else if ((n = option_number(word, "timeout:", TIMEOUT_MAX)) > 0)
		c->timeout = n;
	else if ((n = option_number(word, "attempts:", TRIES_MAX)) > 0)
		c->tries = n;
	else if (strcmp(word, "rotate") == 0)
		c->rotate = true;
	else if (strcmp(word, "use-vc") == 0)
		c->use_tcp = true;
}

/* add_search() - A suffix; "." is the root, which is none */
static void add_search(const char *word, struct resolv_conf *c)
{
	if (c->search_count < RESOLV_SEARCH_MAX && strlen(word) < RESOLV_NAME_MAX &&
	    host_is_valid(word))
		strcpy(c->search[c->search_count++], word);
}

/* add_server() - An address, or in brackets with a port */
static void add_server(const char *word, struct resolv_conf *c)
{
	struct endpoint e = {.port = 53};

	if (c->server_count < RESOLV_SERVERS_MAX &&
	    (address_parse(word, strlen(word), &e.address) == 0 ||
	     (*word == '[' && endpoint_parse(word, strlen(word), &e) == 0)))
		c->servers[c->server_count++] = e;
}

int resolv_conf_parse(const char *text, size_t length, struct resolv_conf *ret)
{
	_cleanup_free_ char *copy = strndup(text ? text : "", length);
	char *rest = copy, *line, *place, *key, *word;

	*ret = (struct resolv_conf){.ndots = 1};
	while ((line = strsep(&rest, "\n"))) {
		bool search;

		line[strcspn(line, "#;")] = 0;
		key = strtok_r(line, BLANKS, &place);
		if (!key)
			continue;
		search = strcmp(key, "domain") == 0 || strcmp(key, "search") == 0;
		if (search)
			ret->search_count = 0; /* the last one counts */
		while ((word = strtok_r(NULL, BLANKS, &place))) {
			if (search)
				add_search(word, ret);
			else if (strcmp(key, "options") == 0)
				parse_option(word, ret);
			else if (strcmp(key, "nameserver") == 0)
				add_server(word, ret);
		}
	}
	return copy ? 0 : -ENOMEM;
}

size_t hosts_find(const char *text, size_t length, const char *name, struct address *ret,
		  size_t max)
{
	_cleanup_free_ char *copy = strndup(text ? text : "", length);
	char *rest = copy, *line, *place, *word;
	size_t size = strlen(name), found = 0;
	struct address a;

	if (size && name[size - 1] == '.')
		size--;
	while (found < max && (line = strsep(&rest, "\n"))) {
		line[strcspn(line, "#")] = 0;
		word = strtok_r(line, BLANKS, &place);
		if (!word || address_parse(word, strlen(word), &a) < 0)
			continue;
		while ((word = strtok_r(NULL, BLANKS, &place)))
			if (strlen(word) == size && strncasecmp(word, name, size) == 0) {
				ret[found++] = a;
				break;
			}
	}
	return found;
}

bool host_is_valid(const char *host)
{
	size_t length = strlen(host), label = 0;
	bool numeric = true; /* the last label: "1.2.3" is no name */
	struct address a;

	if (address_parse(host, length, &a) == 0)
		return true;
	if (length && host[length - 1] == '.')
		length--;
	if (length == 0 || length > 253)
		return false;
	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)host[i];

		if (c == '.') {
			if (label == 0 || host[i - 1] == '-')
				return false;
			label = 0;
			numeric = true;
			continue;
		}
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '_' || (c == '-' && label)) ||
		    ++label > 63)
			return false;
		numeric = numeric && c >= '0' && c <= '9';
	}
	return label && host[length - 1] != '-' && !numeric;
}
