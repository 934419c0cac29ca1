/* SPDX-License-Identifier: BSD-3-Clause */
/* transport/names_text.c - what resolv.conf and hosts say, and what a host name is */
#include "transport/names_text.h"
#include "transport/names.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

/* What glibc caps these at. */
#define NDOTS_MAX   15
#define TIMEOUT_MAX 30
#define TRIES_MAX   5

struct words {
	const char *at, *end;
};

/* next_line() - Cut the next line off @text, without its comment */
static bool next_line(struct words *text, const char *comment, struct words *ret)
{
	const char *newline;

	if (text->at == text->end)
		return false;
	newline = memchr(text->at, '\n', (size_t)(text->end - text->at));
	ret->at = text->at;
	ret->end = newline ? newline : text->end;
	text->at = newline ? newline + 1 : text->end;
	for (const char *c = ret->at; c < ret->end; c++)
		if (*c && strchr(comment, *c))
			ret->end = c;
	return true;
}

static bool next_word(struct words *line, struct words *ret)
{
	while (line->at < line->end && isspace((unsigned char)*line->at))
		line->at++;
	ret->at = line->at;
	while (line->at < line->end && !isspace((unsigned char)*line->at))
		line->at++;
	ret->end = line->at;
	return ret->at < ret->end;
}

static size_t word_length(const struct words *w)
{
	return (size_t)(w->end - w->at);
}

static bool word_is(const struct words *w, const char *text)
{
	return word_length(w) == strlen(text) && memcmp(w->at, text, strlen(text)) == 0;
}

/* option_number() - The number of "name:number", at most @max; -1 if it is another option */
static int option_number(const struct words *w, const char *name, int max)
{
	size_t length = strlen(name);
	int number = 0;

	if (word_length(w) <= length || memcmp(w->at, name, length) != 0)
		return -1;
	for (const char *c = w->at + length; c < w->end; c++) {
		if (!isdigit((unsigned char)*c))
			return -1;
		number = number * 10 + (*c - '0');
		if (number > max)
			number = max;
	}
	return number;
}

static void parse_option(const struct words *w, struct resolv_conf *c)
{
	int n;

	if ((n = option_number(w, "ndots:", NDOTS_MAX)) >= 0)
		c->ndots = n;
	else if ((n = option_number(w, "timeout:", TIMEOUT_MAX)) > 0)
		c->timeout = n;
	else if ((n = option_number(w, "attempts:", TRIES_MAX)) > 0)
		c->tries = n;
	else if (word_is(w, "rotate"))
		c->rotate = true;
	else if (word_is(w, "use-vc"))
		c->use_tcp = true;
}

static void add_search(const struct words *w, struct resolv_conf *c)
{
	size_t length = word_length(w);

	if (c->search_count == RESOLV_SEARCH_MAX || length >= RESOLV_NAME_MAX)
		return;
	if (word_is(w, ".")) /* the root: no suffix */
		return;
	memcpy(c->search[c->search_count], w->at, length);
	c->search[c->search_count][length] = 0;
	if (host_is_valid(c->search[c->search_count]))
		c->search_count++;
}

/* parse_server() - An address, or in brackets with a port; whether it is one */
static bool parse_server(const struct words *w, struct endpoint *ret)
{
	ret->port = 53;
	if (address_parse(w->at, word_length(w), &ret->address) == 0)
		return true;
	return *w->at == '[' && endpoint_parse(w->at, word_length(w), ret) == 0;
}

void resolv_conf_parse(const char *text, size_t length, struct resolv_conf *ret)
{
	struct words all = {text, text ? text + length : text}, line, key, word;

	*ret = (struct resolv_conf){.ndots = 1};
	while (next_line(&all, "#;", &line)) {
		if (!next_word(&line, &key))
			continue;
		if (word_is(&key, "domain") || word_is(&key, "search"))
			ret->search_count = 0; /* the last one counts */
		while (next_word(&line, &word)) {
			if (word_is(&key, "search") || word_is(&key, "domain"))
				add_search(&word, ret);
			else if (word_is(&key, "options"))
				parse_option(&word, ret);
			else if (word_is(&key, "nameserver") &&
				 ret->server_count < RESOLV_SERVERS_MAX)
				ret->server_count +=
					parse_server(&word, &ret->servers[ret->server_count]);
		}
	}
}

size_t hosts_find(const char *text, size_t length, const char *name, struct address *ret,
		  size_t max)
{
	struct words all = {text, text ? text + length : text}, line, first, word;
	size_t size = strlen(name), found = 0;
	struct address a;

	if (size && name[size - 1] == '.')
		size--;
	while (found < max && next_line(&all, "#", &line)) {
		if (!next_word(&line, &first) ||
		    address_parse(first.at, word_length(&first), &a) < 0)
			continue;
		while (next_word(&line, &word))
			if (word_length(&word) == size && strncasecmp(word.at, name, size) == 0) {
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
