/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/wireguard/wg_cookie.h - mac1, mac2 and cookies (WireGuard §5.3, §5.4.4, §5.4.7)
 *
 * mac1 proves that the sender knows our public key. mac2 proves that the sender receives
 * datagrams at its address: its key is a cookie that was sent to that address. The checker
 * is the side that demands a cookie, the jar the side that stores one.
 */
#pragma once

#include "tunnel/wireguard/wg.h"

/* One for each device. */
struct wg_cookie_checker {
	uint8_t mac1_key[BLAKE2S_SIZE];
	struct secret_key cookie_key;
	struct secret_key secret; /* the secret of cookies; changes every 120 s */
	nanoseconds secret_until;
};

/* One for each peer; initially zero. */
struct wg_cookie_jar {
	uint8_t cookie[WG_COOKIE_SIZE];
	nanoseconds use_until; /* 0: never received */
	uint8_t last_mac1[WG_MAC_SIZE];
	bool sent; /* last_mac1 was sent in a message that a cookie reply can answer */
};

/** wg_checker_set_key() - Set our public key */
void wg_checker_set_key(struct wg_cookie_checker *checker, const struct public_key *public);

/** wg_checker_mac1() - Whether a handshake message has a valid mac1 */
bool wg_checker_mac1(const struct wg_cookie_checker *checker, const uint8_t *message,
		     size_t length);

/** wg_checker_mac2() - Whether it has a valid mac2 for its source */
bool wg_checker_mac2(const struct wg_cookie_checker *checker, const uint8_t *message, size_t length,
		     const struct wg_source *source, nanoseconds now);

/**
 * wg_checker_reply() - Make the cookie reply to a handshake message with a valid mac1
 * @sender: the sender's index in the message
 * @fresh:  random bytes: a new secret if one is due, then the nonce
 */
void wg_checker_reply(struct wg_cookie_checker *checker, const uint8_t *message, size_t length,
		      uint32_t sender, const struct wg_source *source, nanoseconds now,
		      const uint8_t fresh[static SECRET_KEY_SIZE + XAEAD_NONCE_SIZE],
		      uint8_t ret[static WG_COOKIE_REPLY_SIZE]);

/** wg_jar_stamp() - Add mac1, and mac2 if there is a cookie, to a message for @public */
void wg_jar_stamp(struct wg_cookie_jar *jar, const struct public_key *public, uint8_t *message,
		  size_t length, nanoseconds now);

/** wg_jar_open() - Store the cookie of an authentic reply of @public; 0 or -EBADMSG */
int wg_jar_open(struct wg_cookie_jar *jar, const struct public_key *public,
		const struct wg_cookie_reply *reply, nanoseconds now);
