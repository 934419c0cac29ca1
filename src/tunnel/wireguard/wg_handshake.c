/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/wireguard/wg_handshake.c - Noise_IKpsk2 in both roles (WireGuard §5.4.2-5.4.5)
 *
 * DOC: Theory of operation
 *
 * The initiator's state is stored in the peer between the two messages. The responder
 * stores none: it reads the initiation, writes the response and makes the session in one
 * step. So the two roles are independent when both ends initiate at once: each end
 * answers the other's initiation and still accepts the response to its own.
 *
 * A message is checked on a copy of the state. The peer changes only after the whole
 * message proved authentic.
 *
 * Sessions move through slots. The initiator's is usable at once and becomes the current
 * one. The responder's is unconfirmed until a message arrives in it, which proves that
 * the initiator has the keys. Older sessions stay for packets in flight.
 *
 *	finish:   older ◄─ current, unconfirmed      current ◄─ new
 *	answer:   unconfirmed ◄─ new
 *	confirm:  older ◄─ current ◄─ unconfirmed
 *
 * When both initiate at once there are two sessions: each end sends in its own and
 * receives in the other's, an older one. Both would then renew at the same moment again and
 * again, or neither would; so, while the other end uses its own session, the end with the
 * larger public key renews. We don't change to the other's session instead: if wireguard-go
 * handles our response and our own initiation at the same time, it can't be reached in
 * the session that it began.
 */
#include "tunnel/wireguard/wg_device.h"

#include <errno.h>
#include <stdlib.h>

struct wg_peer *wg_peer_for_key(const struct wg_device *device, const struct public_key *public)
{
	struct wg_peer *peer;

	HASH_FIND(hh, device->peers, public, sizeof(*public), peer);
	return peer;
}

static int add_index(struct wg_device *device, struct wg_index *index, uint32_t number)
{
	index->number = number;
	HASH_ADD(hh, device->indices, number, sizeof(number), index);
	return index->hh.tbl ? 0 : -ENOMEM;
}

int wg_index_insert(struct wg_device *device, struct wg_index *index)
{
	struct wg_index *same;
	uint32_t number;

	do {
		wg_random(device, &number, sizeof(number));
		HASH_FIND(hh, device->indices, &number, sizeof(number), same);
	} while (same);
	return add_index(device, index, number);
}

/* move_index() - Move the number of @from to @to; 0 or -ENOMEM (nothing changed) */
static int move_index(struct wg_device *device, struct wg_index *from, struct wg_index *to)
{
	int r = add_index(device, to, from->number);

	if (r == 0)
		HASH_DEL(device->indices, from);
	return r;
}

void wg_handshake_clear(struct wg_peer *peer)
{
	struct wg_handshake *handshake = &peer->handshake;

	if (handshake->pending)
		HASH_DEL(peer->device->indices, &handshake->index);
	explicit_bzero(handshake, sizeof(*handshake));
}

/* keypair_free() - Remove from the table, wipe, release. NULL is allowed */
static void keypair_free(struct wg_device *device, struct wg_keypair *keypair)
{
	if (!keypair)
		return;
	HASH_DEL(device->indices, &keypair->index);
	aead_key_end(device->aead, &keypair->sending);
	aead_key_end(device->aead, &keypair->receiving);
	explicit_bzero(keypair, sizeof(*keypair));
	free(keypair);
}

void wg_peer_end_sessions(struct wg_peer *peer)
{
	wg_handshake_clear(peer);
	keypair_free(peer->device, TAKE_PTR(peer->current));
	keypair_free(peer->device, TAKE_PTR(peer->unconfirmed));
	for (size_t i = 0; i < WG_OLDER; i++)
		keypair_free(peer->device, TAKE_PTR(peer->older[i]));
}

static bool know_static_static(struct wg_peer *peer)
{
	if (!peer->has_static_static)
		peer->has_static_static = secret_key_agree(&peer->device->private, &peer->public,
							   &peer->static_static) == 0;
	return peer->has_static_static;
}

static void generate(const struct wg_device *device, struct secret_key *ret_private,
		     struct public_key *ret_public)
{
	wg_random(device, ret_private->bytes, sizeof(ret_private->bytes));
	secret_key_public(ret_private, ret_public);
}

/* The initial state of both ends, bound to the responder. */
static void begin(struct noise_state *noise, const struct public_key *responder)
{
	noise_init(noise, WG_CONSTRUCTION);
	noise_mix_hash(noise, WG_IDENTIFIER, strlen(WG_IDENTIFIER));
	noise_mix_hash(noise, responder->bytes, sizeof(responder->bytes));
}

/* The token e of a pattern with a psk. */
static void mix_ephemeral(struct noise_state *noise, const struct public_key *ephemeral)
{
	noise_mix_hash(noise, ephemeral->bytes, sizeof(ephemeral->bytes));
	noise_mix_key(noise, ephemeral->bytes, sizeof(ephemeral->bytes));
}

static struct wg_timestamp next_timestamp(struct wg_device *device)
{
	struct wg_timestamp timestamp =
		wg_timestamp_at(device->callbacks->realtime(device->context));

	if (!wg_timestamp_later(&timestamp, &device->last_timestamp))
		timestamp = wg_timestamp_next(&device->last_timestamp);
	device->last_timestamp = timestamp;
	return timestamp;
}

static struct wg_keypair *keypair_new(struct wg_peer *peer, bool initiator, uint32_t remote_index)
{
	struct wg_keypair *keypair = calloc(1, sizeof(*keypair));

	if (!keypair)
		return NULL;
	keypair->index.peer = peer;
	keypair->index.keypair = keypair;
	keypair->initiator = keypair->renews = initiator;
	keypair->remote_index = remote_index;
	keypair->created = peer->device->now;
	keypair->worker = peer->device->aead;
	aead_key_number(&keypair->sending);
	aead_key_number(&keypair->receiving);
	return keypair;
}

/* Add @keypair (NULL: none) to the older sessions, and remove the oldest. */
static void retire(struct wg_peer *peer, struct wg_keypair *keypair)
{
	if (!keypair)
		return;
	keypair_free(peer->device, peer->older[WG_OLDER - 1]);
	memmove(&peer->older[1], &peer->older[0], (WG_OLDER - 1) * sizeof(peer->older[0]));
	peer->older[0] = keypair;
}

int wg_handshake_initiate(struct wg_peer *peer, uint8_t ret[static WG_INITIATION_SIZE])
{
	struct wg_handshake *handshake = &peer->handshake;
	struct wg_device *device = peer->device;
	struct wg_initiation message;
	struct wg_timestamp timestamp;

	wg_handshake_clear(peer);
	if (!know_static_static(peer))
		return -EBADMSG;
	begin(&handshake->noise, &peer->public);
	generate(device, &handshake->ephemeral, &message.ephemeral);
	mix_ephemeral(&handshake->noise, &message.ephemeral);
	if (noise_mix_dh(&handshake->noise, &handshake->ephemeral, &peer->public) < 0)
		goto failed;
	noise_encrypt_and_hash(&handshake->noise, device->public.bytes,
			       sizeof(device->public.bytes), message.sealed_static);
	noise_mix_key(&handshake->noise, peer->static_static.bytes,
		      sizeof(peer->static_static.bytes));
	timestamp = next_timestamp(device);
	noise_encrypt_and_hash(&handshake->noise, timestamp.bytes, sizeof(timestamp.bytes),
			       message.sealed_timestamp);

	peer->last_sent_timestamp = timestamp;
	handshake->index.peer = peer;
	if (wg_index_insert(device, &handshake->index) < 0)
		goto failed;
	handshake->pending = true;
	message.sender = handshake->index.number;
	wg_initiation_encode(&message, ret);
	return 0;

failed:
	noise_wipe(&handshake->noise);
	secret_key_wipe(&handshake->ephemeral);
	return -EBADMSG;
}

/* Read the initiator and its timestamp; the state is then ready for the response. */
static enum wg_verdict read_initiation(struct wg_device *device,
				       const struct wg_initiation *message,
				       struct noise_state *noise, struct public_key *ret_static,
				       struct wg_timestamp *ret_timestamp)
{
	struct secret_key shared;
	struct wg_peer *peer;
	int r;

	begin(noise, &device->public);
	mix_ephemeral(noise, &message->ephemeral);
	if (noise_mix_dh(noise, &device->private, &message->ephemeral) < 0 ||
	    noise_decrypt_and_hash(noise, message->sealed_static, sizeof(message->sealed_static),
				   ret_static->bytes) < 0)
		return WG_DROPPED_FORGED;
	peer = wg_peer_for_key(device, ret_static);
	if (peer && know_static_static(peer)) {
		noise_mix_key(noise, peer->static_static.bytes, sizeof(peer->static_static.bytes));
	} else {
		r = secret_key_agree(&device->private, ret_static, &shared);
		if (r < 0)
			return WG_DROPPED_FORGED;
		noise_mix_key(noise, shared.bytes, sizeof(shared.bytes));
		secret_key_wipe(&shared);
	}
	if (noise_decrypt_and_hash(noise, message->sealed_timestamp,
				   sizeof(message->sealed_timestamp), ret_timestamp->bytes) < 0)
		return WG_DROPPED_FORGED;
	return WG_RECEIVED_INITIATION;
}

/* The responder's half of the pattern: e, ee, se, psk. */
static int write_response(struct wg_peer *peer, const struct wg_initiation *initiation,
			  struct noise_state *noise, struct wg_response *ret)
{
	struct secret_key ephemeral;
	int r;

	generate(peer->device, &ephemeral, &ret->ephemeral);
	mix_ephemeral(noise, &ret->ephemeral);
	r = noise_mix_dh(noise, &ephemeral, &initiation->ephemeral);
	if (r == 0)
		r = noise_mix_dh(noise, &ephemeral, &peer->public);
	secret_key_wipe(&ephemeral);
	if (r < 0)
		return r;
	noise_mix_key_and_hash(noise, &peer->psk);
	noise_encrypt_and_hash(noise, NULL, 0, ret->sealed_nothing);
	return 0;
}

enum wg_verdict wg_handshake_answer(struct wg_device *device, const struct wg_initiation *message,
				    struct wg_peer **ret_peer,
				    uint8_t ret_response[static WG_RESPONSE_SIZE])
{
	struct wg_response response = {.receiver = message->sender};
	struct wg_keypair *keypair = NULL;
	struct wg_timestamp timestamp;
	struct public_key public;
	struct noise_state noise;
	enum wg_verdict verdict;
	struct wg_peer *peer;

	verdict = read_initiation(device, message, &noise, &public, &timestamp);
	if (verdict != WG_RECEIVED_INITIATION)
		goto dropped;
	verdict = WG_DROPPED_UNKNOWN_PEER;
	peer = wg_peer_for_key(device, &public);
	if (!peer && device->callbacks->identify && !public_key_equal(&public, &device->public))
		peer = device->callbacks->identify(device->context, &public);
	if (!peer || wg_peer_is_self(peer))
		goto dropped;
	verdict = WG_DROPPED_REPLAYED;
	if (!wg_timestamp_later(&timestamp, &peer->last_received_timestamp))
		goto dropped;
	verdict = WG_DROPPED_RATE;
	if (peer->last_received_initiation &&
	    device->now - peer->last_received_initiation < WG_INITIATION_INTERVAL)
		goto dropped;
	verdict = WG_DROPPED_MEMORY;
	keypair = keypair_new(peer, false, message->sender);
	if (!keypair)
		goto dropped;
	verdict = WG_DROPPED_FORGED;
	if (write_response(peer, message, &noise, &response) < 0)
		goto dropped;

	verdict = WG_DROPPED_MEMORY;
	if (wg_index_insert(device, &keypair->index) < 0)
		goto dropped;

	noise_split(&noise, &keypair->receiving.secret, &keypair->sending.secret);
	peer->last_received_timestamp = timestamp;
	peer->last_received_initiation = device->now;
	response.sender = keypair->index.number;
	wg_response_encode(&response, ret_response);
	keypair_free(device, peer->unconfirmed);
	peer->unconfirmed = keypair;
	*ret_peer = peer;
	return WG_RECEIVED_INITIATION;

dropped:
	free(keypair);
	noise_wipe(&noise);
	return verdict;
}

enum wg_verdict wg_handshake_finish(struct wg_peer *peer, const struct wg_response *message)
{
	struct wg_device *device = peer->device;
	struct noise_state noise = peer->handshake.noise;
	struct wg_keypair *keypair;
	enum wg_verdict verdict;

	keypair = keypair_new(peer, true, message->sender);
	verdict = WG_DROPPED_MEMORY;
	if (!keypair)
		goto dropped;
	verdict = WG_DROPPED_FORGED;
	mix_ephemeral(&noise, &message->ephemeral);
	if (noise_mix_dh(&noise, &peer->handshake.ephemeral, &message->ephemeral) < 0 ||
	    noise_mix_dh(&noise, &device->private, &message->ephemeral) < 0)
		goto dropped;
	noise_mix_key_and_hash(&noise, &peer->psk);
	if (noise_decrypt_and_hash(&noise, message->sealed_nothing, sizeof(message->sealed_nothing),
				   NULL) < 0)
		goto dropped;

	verdict = WG_DROPPED_MEMORY;
	if (move_index(device, &peer->handshake.index, &keypair->index) < 0)
		goto dropped;

	noise_split(&noise, &keypair->sending.secret, &keypair->receiving.secret);
	peer->handshake.pending = false;
	wg_handshake_clear(peer);
	retire(peer, peer->current);
	retire(peer, TAKE_PTR(peer->unconfirmed));
	peer->current = keypair;
	return WG_RECEIVED_RESPONSE;

dropped:
	free(keypair);
	noise_wipe(&noise);
	return verdict;
}

/* A message arrived in an older session, which the other end made at the same time as the current one. */
static bool made_at_once(const struct wg_keypair *older, const struct wg_keypair *current)
{
	nanoseconds apart = current->created - older->created;

	return older->initiator != current->initiator && apart < WG_REKEY_TIMEOUT &&
	       apart > -WG_REKEY_TIMEOUT;
}

bool wg_handshake_confirm(struct wg_peer *peer, struct wg_keypair *keypair)
{
	if (keypair == peer->unconfirmed) {
		retire(peer, peer->current);
		peer->current = TAKE_PTR(peer->unconfirmed);
		/* Our own pending initiation is not needed any more. */
		wg_handshake_clear(peer);
		return true;
	}
	if (keypair == peer->current)
		keypair->renews = keypair->initiator;
	else if (made_at_once(keypair, peer->current))
		peer->current->renews =
			memcmp(&peer->device->public, &peer->public, sizeof(peer->public)) > 0;
	return false;
}
