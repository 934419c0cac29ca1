/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/node.h - the node, as the LocalAPI sees it
 *
 * The LocalAPI's questions and orders. JSON has the official LocalAPI types
 * (ipnstate.Status, ipn.Prefs, ipn.MaskedPrefs, ipn.Options, ipn.Notify), so that the
 * official command line works against our socket. All functions run on the engine's
 * control thread and never block.
 */
#pragma once

#include "base/address.h"
#include "base/buffer.h"
#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct json_writer;
struct node;
struct node_watch;
struct tailcfg_node;
struct tailcfg_ping_result;
struct tailcfg_user_profile;

/** enum node_watch_mask - Bits of watch-ipn-bus?mask= (ipn.NotifyWatchOpt) that make a difference */
enum node_watch_mask {
	NODE_WATCH_INITIAL_STATE = 1 << 1,
	NODE_WATCH_INITIAL_PREFS = 1 << 2,
	NODE_WATCH_INITIAL_NETMAP = 1 << 3,
	NODE_WATCH_INITIAL_HEALTH = 1 << 7,
	NODE_WATCH_RATE_LIMIT = 1 << 8,
	NODE_WATCH_PEER_CHANGES = 1 << 12,
	NODE_WATCH_INITIAL_STATUS = 1 << 14,
	NODE_WATCH_PEER_PATCHES = 1 << 15,
};

/** node_write_status() - ipnstate.Status; its Peer and User maps only with @peers */
void node_write_status(struct node *node, bool peers, struct json_writer *w, const char *name);

/** node_write_prefs() - ipn.Prefs of the current profile; its Config names the user and holds no key
 */
void node_write_prefs(struct node *node, struct json_writer *w, const char *name);

/**
 * node_edit_prefs() - Apply an ipn.MaskedPrefs, begin to store the result, and act on it
 * @masked: borrowed
 *
 * Return: 0, or -EINVAL for what prefs_edit() refuses
 */
int node_edit_prefs(struct node *node, json_t *masked, struct error *err);

/**
 * node_when_stored() - Call @done once the current prefs and keys are stored, or can't be
 *
 * It is called at once if no store is under way, and by node_free() at the latest. A failed store
 * is a health warning and is repeated.
 */
void node_when_stored(struct node *node, void (*done)(struct node *node, void *context),
		      void *context);

/**
 * node_start() - Apply an ipn.Options and begin a new login: UpdatePrefs replaces the prefs,
 *                AuthKey is for this login
 * @ipn_options: taken over, and its AuthKey wiped
 *
 * The state is published on the bus, changed or not. A start that would replace a good login by
 * one at another server waits for node_login_interactive(); if that doesn't come, the bus gets the
 * refusal.
 */
int node_start(struct node *node, json_t *ipn_options, struct error *err);

/** node_is_known() - Whether a login server has registered our node key, or the one before it */
bool node_is_known(const struct node *node);

/**
 * node_login_interactive() - Ask control for a login URL; it arrives as Notify.BrowseToURL
 *
 * With an auth key of node_start() it logs in by that key. While such a login is under way it does
 * nothing, since the key may be for one use. A running node keeps running until the new login has
 * succeeded.
 */
int node_login_interactive(struct node *node, struct error *err);

/**
 * node_logout() - Expire the node key at control and forget the profile
 * @done: called once, later, with NULL or the reason why control did not confirm; -ECANCELED if
 *        the node ended, or got another login server, before the answer
 *
 * Return: 0, or negative errno with @err set, and @done is never called
 */
int node_logout(struct node *node, void (*done)(void *context, const struct error *err),
		void *context, struct error *err);

/**
 * node_query_feature() - What a person has to do for @feature ("serve", "funnel")
 * @done: called once, perhaps before this returns; with tailcfg.QueryFeatureResponse as JSON, or
 *        NULL and why there is none
 */
void node_query_feature(struct node *node, const char *feature,
			void (*done)(void *context, const char *json, const char *why),
			void *context);

typedef void node_ping_done(void *context, const struct tailcfg_ping_result *result);

/**
 * node_ping() - Ping a peer
 * @target: a tailnet address
 * @type:   "disco", "TSMP", "ICMP" or "peerapi"
 * @done:   called once, later
 *
 * Return: 0, or negative errno (-EINVAL: unknown type, -ENOENT: no such peer, -EADDRNOTAVAIL: it
 * offers no PeerAPI) and @done is never called
 */
int node_ping(struct node *node, const struct address *target, const char *type,
	      node_ping_done *done, void *context);

/* The owner of a tailnet address. Pointers hold until the node hears from control again. */
struct node_identity {
	struct address address;
	const struct tailcfg_node *node;
	const struct tailcfg_user_profile *user; /* NULL: control sent none */
	bool is_self;
};

/** node_identify() - The node and user that have @address; false: none has it */
bool node_identify(const struct node *node, const struct address *address,
		   struct node_identity *ret);

/**
 * node_identity_capabilities() - Walk the capabilities that the policy grants @identity on this node
 * @each: as for filter_peer_capabilities()
 */
void node_identity_capabilities(const struct node *node, const struct node_identity *identity,
				bool (*each)(void *data, const char *name, const char *values),
				void *data);

/** node_identity_grants() - The same as a JSON object, name to list of values; free() it. NULL
 * without memory */
char *node_identity_grants(const struct node *node, const struct node_identity *identity);

/** node_write_whois() - apitype.WhoIsResponse {Node, UserProfile, CapMap} of an address; 0, or
 * -ENOENT: no node has it */
int node_write_whois(struct node *node, const struct address *address, struct json_writer *w);

/**
 * node_write_funnels() - {"Peers":[{Name, Ingress, Online, PeerAPI: ["IP:PORT"]}]}, for an ingress
 * @nodes: names, separated by commas, of peers that are wanted though they do not funnel
 */
void node_write_funnels(const struct node *node, const char *nodes, struct json_writer *w);

/** node_write_derp_map() - The DERPMap of control; 0, or -ENODATA before the first map */
int node_write_derp_map(struct node *node, struct json_writer *w);

/** node_has_map() - Whether control, or the cache, has given a map with this node in it */
bool node_has_map(const struct node *node);

/** node_write_netmap() - netmap.NetworkMap without secrets; only if node_has_map() */
void node_write_netmap(struct node *node, struct json_writer *w, const char *name);

/**
 * node_debug() - Run an action of `tailscale debug`
 * @action: "current-netmap", "control-knobs", "peer-disco-keys", "rebind" …
 * @w:      gets the answer; nothing where the action has none
 *
 * Return: 0, -EINVAL for an unknown action, -ENODATA
 */
int node_debug(struct node *node, const char *action, struct json_writer *w, struct error *err);

/** node_address_of() - The first address of the node with @name (its whole name or first label) */
bool node_address_of(struct node *node, const char *name, struct address *ret);

#define NODE_ETAG_MAX 65 /* hex SHA-256 and the end */

/**
 * node_serve_config() - Append the ipn.ServeConfig in force as JSON, "{}" if there is none
 * @ret_etag: its ETag, for node_set_serve_config()
 *
 * Return: 0, -ENOMEM, -EMSGSIZE
 */
int node_serve_config(struct node *node, struct buffer *out, char ret_etag[static NODE_ETAG_MAX]);

/** node_cert_done - @pem: the key, then the certificates; NULL with @err. Valid during the call */
typedef void node_cert_done(void *user, const char *pem, size_t length, const struct error *err);

/**
 * node_cert() - A certificate for a local program that may see its key
 * @domain:       NULL: the certificate of the node's own authority, without a key
 * @min_validity: it is good for so many nanoseconds at least
 *
 * Return: 0, and @done is called later, once; or -EINVAL (not our name), -EAGAIN, -EBUSY with @err
 */
int node_cert(struct node *node, const char *domain, int64_t min_validity, node_cert_done *done,
	      void *user, struct error *err);

/**
 * node_set_serve_config() - Check an ipn.ServeConfig, put it into force and begin to store it
 * @config: borrowed
 * @etag:   of the configuration that it replaces; NULL or "": any
 * @root:   the caller is: files and Unix sockets may be served
 *
 * Return: 0; -EINVAL; -EMSGSIZE; -ESTALE: @etag is of another one; -EEXIST: TS_SERVE_CONFIG is in force;
 * -EOPNOTSUPP: it has what pillion lacks; -EACCES: only root may set it; -EBUSY: no usable state, or no netmap yet; -ENOMEM
 */
int node_set_serve_config(struct node *node, const json_t *config, const char *etag, bool root,
			  struct error *err);

/** node_notify - Receives an ipn.Notify: one line of JSON, which is valid during the call; NULL: the
 * watch has to end */
typedef void node_notify(void *context, const void *line, size_t length);

/**
 * node_watch_new() - Follow the bus
 * @mask:   bits of enum node_watch_mask; the initial notifies that it asks for are delivered
 *          before this returns
 *
 * Return: the watch, or NULL without memory
 */
struct node_watch *node_watch_new(struct node *node, unsigned int mask, node_notify *notify,
				  void *context);

/** node_watch_free() - Stop following; allowed within @notify. NULL is fine */
void node_watch_free(struct node_watch *watch);

/** node_healthy() - Whether the node runs and has addresses; if not, @reason (one line) tells why */
bool node_healthy(struct node *node, char *reason, size_t size);

/** node_metrics() - Append the Prometheus text; 0, -EMSGSIZE or -ENOMEM */
int node_metrics(struct node *node, struct buffer *out);

/** node_may_write() - Whether a local user may change the node: uid 0, or the operator of prefs */
bool node_may_write(struct node *node, uid_t uid);
