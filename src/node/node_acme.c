/* SPDX-License-Identifier: BSD-3-Clause */
/* node/node_acme.c - by which ACME authority and challenge this node gets certificates */
#include "node/node_acme.h"

#include "base/cleanup.h"
#include "transport/url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LETS_ENCRYPT "https://acme-v02.api.letsencrypt.org/directory"
#define DNS_PORT     53

/* choose() - Control's grant first, since it needs nothing else */
static uint32_t choose(const struct privsep_start *start, bool granted)
{
	uint32_t wanted = start->acme_challenge;

	if (wanted == SERVE_CHALLENGE_AUTO)
		return granted                   ? SERVE_CHALLENGE_SET_DNS
		       : start->acme_dns_server  ? SERVE_CHALLENGE_DNS
		       : start->acme_port == 443 ? SERVE_CHALLENGE_TLS_ALPN
		       : start->acme_port == 80  ? SERVE_CHALLENGE_HTTP
						 : SERVE_CHALLENGE_OFF;
	if ((wanted == SERVE_CHALLENGE_SET_DNS && !granted) ||
	    (wanted == SERVE_CHALLENGE_DNS && !start->acme_dns_server))
		return SERVE_CHALLENGE_OFF;
	return wanted;
}

/* add_target() - false: @text is no host, or there is no memory */
static bool add_target(struct node_acme *out, const char *scheme, const char *text, uint16_t port,
		       enum serve_security security)
{
	struct serve_target *target = &out->targets[out->target_count];
	_cleanup_free_ char *address = NULL;
	struct url url;

	if (asprintf(&address, "%s%s", scheme, text) < 0) {
		address = NULL;
		return false;
	}
	if (url_parse(address, &url, NULL) < 0)
		return false;
	*target = (struct serve_target){
		.text = strdup(text),
		.host = strdup(url.host),
		.port = port && !url.port_explicit ? port : url.port,
		.security = security,
	};
	out->target_count++;
	return target->text && target->host;
}

static bool copy(char **ret, const char *text)
{
	*ret = text ? strdup(text) : NULL;
	return !text || *ret;
}

/* add_authority() - Its host, or the proxy on the way to it */
static bool add_authority(struct node_acme *out, const char *directory, const char *proxy_text,
			  const struct proxy *proxy)
{
	struct serve_target *target = &out->targets[out->target_count];
	const struct url *by;
	struct url url;

	if (url_parse(directory, &url, NULL) < 0)
		return false;
	by = proxy_for(proxy, url.host, url.port);
	if (!by)
		return add_target(out, "", directory, 0, SERVE_TLS);
	*target = (struct serve_target){
		.host = strdup(by->host),
		.port = by->port,
		.security = SERVE_PLAIN, /* TLS begins behind it */
	};
	if (asprintf(&target->text, "HTTPS_PROXY %s:%u", by->host, by->port) < 0)
		target->text = NULL;
	out->target_count++;
	return target->text && target->host && copy(&out->acme.proxy, proxy_text);
}

void node_acme_make(const struct privsep_start *start, const struct proxy *proxy, bool granted,
		    struct node_acme *ret)
{
	const char *directory = start->acme_directory ?: LETS_ENCRYPT;
	struct node_acme made = {.acme.challenge = choose(start, granted)};
	struct privsep_acme *acme = &made.acme;
	bool good = acme->challenge != SERVE_CHALLENGE_OFF;

	*ret = (struct node_acme){.acme.challenge = SERVE_CHALLENGE_OFF};
	if (good)
		good = add_authority(&made, directory, start->https_proxy, proxy) &&
		       copy(&acme->directory, directory) && copy(&acme->email, start->acme_email) &&
		       copy(&acme->key_id, start->acme_key_id) &&
		       copy(&acme->zone, start->acme_dns_zone) &&
		       copy(&acme->dns_server, start->acme_dns_server);
	if (good && acme->challenge == SERVE_CHALLENGE_DNS)
		good = add_target(&made, "http://", start->acme_dns_server, DNS_PORT, SERVE_PLAIN);
	if (good)
		*ret = made;
	else
		node_acme_clear(&made);
}

void node_acme_clear(struct node_acme *acme)
{
	for (size_t i = 0; i < acme->target_count; i++) {
		free(acme->targets[i].text);
		free(acme->targets[i].host);
	}
	privsep_acme_clear(&acme->acme);
	acme->target_count = 0;
}
