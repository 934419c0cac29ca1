/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/wireguard/wg_cookie.h - mac1, mac2 and cookies (WireGuard §5.3, §5.4.4, §5.4.7)
 *
 * mac1 shows that the sender knows our public key. mac2 shows that it receives what
 * is sent to its address: it is keyed by a cookie that only who is there was sent.
 * The checker is the side that asks, the jar the side that was asked.
 */
#pragma once

#include "tunnel/wireguard/wg.h"

/* One a device. */
struct wg_cookie_checker {
	uint8_t mac1_key[BLAKE2S_SIZE];
	struct secret_key cookie_key;
	struct secret_key secret; /* what cookies are made of; changes every 120 s */
	nanoseconds secret_until;
};

/* One a peer; zeroed at first. */
struct wg_cookie_jar {
	uint8_t cookie[WG_COOKIE_SIZE];
	nanoseconds use_until; /* 0: none was ever sent to us */
	uint8_t last_mac1[WG_MAC_SIZE];
	bool sent; /* last_mac1 left in a message that a cookie reply may answer */
};

/** wg_checker_set_key() - Our public key is @public */
void wg_checker_set_key(struct wg_cookie_checker *checker, const struct public_key *public);

/** wg_checker_mac1() - Whether a handshake message carries the right mac1 */
bool wg_checker_mac1(const struct wg_cookie_checker *checker, const uint8_t *message,
		     size_t length);

/** wg_checker_mac2() - Whether it carries the right mac2 for where it came from */
bool wg_checker_mac2(const struct wg_cookie_checker *checker, const uint8_t *message, size_t length,
		     const struct wg_source *source, nanoseconds now);

/**
 * wg_checker_reply() - The cookie reply to a handshake message with a right mac1
 * @sender: index that the message names as its sender's
 * @fresh:  random bytes: a new secret if one is due, then the nonce
 */
void wg_checker_reply(struct wg_cookie_checker *checker, const uint8_t *message, size_t length,
		      uint32_t sender, const struct wg_source *source, nanoseconds now,
		      const uint8_t fresh[static SECRET_KEY_SIZE + XAEAD_NONCE_SIZE],
		      uint8_t ret[static WG_COOKIE_REPLY_SIZE]);

/** wg_jar_stamp() - Put mac1, and mac2 if there is a cookie, on a message for @public */
void wg_jar_stamp(struct wg_cookie_jar *jar, const struct public_key *public, uint8_t *message,
		  size_t length, nanoseconds now);

/** wg_jar_open() - Keep the cookie of an authentic reply of @public; 0 or -EBADMSG */
int wg_jar_open(struct wg_cookie_jar *jar, const struct public_key *public,
		const struct wg_cookie_reply *reply, nanoseconds now);
