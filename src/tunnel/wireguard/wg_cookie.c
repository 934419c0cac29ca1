/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/wireguard/wg_cookie.c - mac1, mac2 and cookies */
#include "tunnel/wireguard/wg_cookie.h"

#include "base/cursor.h"

#include <errno.h>

static void labelled_key(const char *label, const struct public_key *public,
			 uint8_t ret[static BLAKE2S_SIZE])
{
	blake2s(ret, label, strlen(label), public->bytes, sizeof(public->bytes));
}

void wg_checker_set_key(struct wg_cookie_checker *checker, const struct public_key *public)
{
	labelled_key(WG_LABEL_MAC1, public, checker->mac1_key);
	labelled_key(WG_LABEL_COOKIE, public, checker->cookie_key.bytes);
}

bool wg_checker_mac1(const struct wg_cookie_checker *checker, const uint8_t *message, size_t length)
{
	uint8_t mac[WG_MAC_SIZE];

	blake2s_mac(mac, checker->mac1_key, sizeof(checker->mac1_key), message,
		    WG_MAC1_OFFSET(length));
	return secret_equal(mac, message + WG_MAC1_OFFSET(length), sizeof(mac));
}

/* The cookie of a source: address and port by UDP, region and sender's key by relay. */
static void cookie_of(const struct secret_key *secret, const struct wg_source *source,
		      uint8_t ret[static WG_COOKIE_SIZE])
{
	uint8_t name[1 + 16 + 2 + 4 + KEY_SIZE] = {source->endpoint.address.family};

	memcpy(name + 1, source->endpoint.address.bytes, 16);
	put_be16(name + 17, source->endpoint.port);
	put_be32(name + 19, source->region);
	memcpy(name + 23, source->relay_key.bytes, KEY_SIZE);
	blake2s_mac(ret, secret->bytes, sizeof(secret->bytes), name, sizeof(name));
}

bool wg_checker_mac2(const struct wg_cookie_checker *checker, const uint8_t *message, size_t length,
		     const struct wg_source *source, nanoseconds now)
{
	uint8_t cookie[WG_COOKIE_SIZE], mac[WG_MAC_SIZE];

	if (now >= checker->secret_until)
		return false;
	cookie_of(&checker->secret, source, cookie);
	blake2s_mac(mac, cookie, sizeof(cookie), message, WG_MAC2_OFFSET(length));
	return secret_equal(mac, message + WG_MAC2_OFFSET(length), sizeof(mac));
}

void wg_checker_reply(struct wg_cookie_checker *checker, const uint8_t *message, size_t length,
		      uint32_t sender, const struct wg_source *source, nanoseconds now,
		      const uint8_t fresh[static SECRET_KEY_SIZE + XAEAD_NONCE_SIZE],
		      uint8_t ret[static WG_COOKIE_REPLY_SIZE])
{
	struct wg_cookie_reply reply = {.receiver = sender};
	uint8_t cookie[WG_COOKIE_SIZE];

	if (now >= checker->secret_until) {
		memcpy(checker->secret.bytes, fresh, SECRET_KEY_SIZE);
		checker->secret_until = now + WG_COOKIE_REFRESH_TIME;
	}
	memcpy(reply.nonce, fresh + SECRET_KEY_SIZE, XAEAD_NONCE_SIZE);
	cookie_of(&checker->secret, source, cookie);
	xaead_seal(&checker->cookie_key, reply.nonce, message + WG_MAC1_OFFSET(length), WG_MAC_SIZE,
		   cookie, sizeof(cookie), reply.sealed_cookie);
	wg_cookie_reply_encode(&reply, ret);
}

void wg_jar_stamp(struct wg_cookie_jar *jar, const struct public_key *public, uint8_t *message,
		  size_t length, nanoseconds now)
{
	uint8_t key[BLAKE2S_SIZE], *mac1 = message + WG_MAC1_OFFSET(length);

	labelled_key(WG_LABEL_MAC1, public, key);
	blake2s_mac(mac1, key, sizeof(key), message, WG_MAC1_OFFSET(length));
	memcpy(jar->last_mac1, mac1, sizeof(jar->last_mac1));
	jar->sent = true;
	if (now < jar->use_until)
		blake2s_mac(message + WG_MAC2_OFFSET(length), jar->cookie, sizeof(jar->cookie),
			    message, WG_MAC2_OFFSET(length));
}

int wg_jar_open(struct wg_cookie_jar *jar, const struct public_key *public,
		const struct wg_cookie_reply *reply, nanoseconds now)
{
	uint8_t cookie[WG_COOKIE_SIZE];
	struct secret_key key;

	if (!jar->sent)
		return -EBADMSG;
	labelled_key(WG_LABEL_COOKIE, public, key.bytes);
	if (xaead_open(&key, reply->nonce, jar->last_mac1, sizeof(jar->last_mac1),
		       reply->sealed_cookie, sizeof(reply->sealed_cookie), cookie) < 0)
		return -EBADMSG;
	memcpy(jar->cookie, cookie, sizeof(cookie));
	jar->use_until = now + WG_COOKIE_USE_TIME;
	jar->sent = false;
	return 0;
}
