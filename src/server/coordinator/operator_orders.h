/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/coordinator/operator_orders.h - the operator's orders: commands and requests in one table
 *
 * ORDER(word, word, arguments, method, path below /v1/, body, print, run, log, traits)
 *
 * The command line has the words, the number of arguments, `body` (makes the request's) and `print`
 * (shows the answer); the server has `run`, and the text of the log line after a success. "*" in the path is
 * the first argument. Without a second word "list" is meant.
 */
#pragma once

#define ORDER_TEXT  1u  /* the body is a text, from the file that the last argument names */
#define ORDER_TAKES 4u  /* takes a right or frees space: also while the disk takes nothing */
#define ORDER_NODE  8u  /* about the node that the path names, which is the answer */
#define ORDER_USER  16u /* takes --user and --tags */
#define ORDER_KEY   32u /* takes the flags of a key */
#define ORDER_OPENS 64u /* opens the tailnet: needs --yes */

/* clang-format off */
#define OPERATOR_ORDERS(ORDER) \
	ORDER("users", "list", 0, "GET", "users", NULL, print_users, list_users, NULL, 0) \
	ORDER("users", "create", 1, "POST", "users", body_of_name, NULL, create_user, "created user", 0) \
	ORDER("users", "delete", 1, "DELETE", "users/*", NULL, NULL, delete_user, "deleted user", ORDER_TAKES) \
	ORDER("keys", "list", 0, "GET", "keys", NULL, print_keys, list_keys, NULL, 0) \
	ORDER("keys", "create", 0, "POST", "keys", body_of_key, print_key, create_key, "created key", \
	      ORDER_USER | ORDER_KEY) \
	ORDER("keys", "expire", 1, "POST", "keys/*/expire", NULL, NULL, expire_key, "expired key", ORDER_TAKES) \
	ORDER("nodes", "list", 0, "GET", "nodes", NULL, print_nodes, list_nodes, NULL, 0) \
	ORDER("nodes", "show", 1, "GET", "nodes/*", NULL, print_node, show_node, NULL, ORDER_NODE) \
	ORDER("nodes", "expire", 1, "POST", "nodes/*/expire", NULL, warn_of_return, expire_node, "expired node", \
	      ORDER_NODE | ORDER_TAKES) \
	ORDER("nodes", "delete", 1, "DELETE", "nodes/*", NULL, warn_of_return, delete_node, "deleted node", \
	      ORDER_NODE | ORDER_TAKES) \
	ORDER("nodes", "rename", 2, "POST", "nodes/*/rename", body_of_name, NULL, rename_node, "renamed node", \
	      ORDER_NODE) \
	ORDER("nodes", "tag", 2, "POST", "nodes/*/tags", body_of_tags, NULL, tag_node, "tagged node", ORDER_NODE) \
	ORDER("nodes", "approve-routes", 2, "POST", "nodes/*/routes", body_of_routes, NULL, approve_routes, \
	      "approved routes of node", ORDER_NODE) \
	ORDER("nodes", "approve", 1, "POST", "logins/*/approve", body_of_owner, NULL, approve_login, \
	      "approved node", ORDER_USER) \
	ORDER("nodes", "reject", 1, "POST", "logins/*/reject", NULL, NULL, reject_login, "rejected a login", \
	      ORDER_TAKES) \
	ORDER("ssh", "list", 0, "GET", "ssh", NULL, print_checks, list_checks, NULL, 0) \
	ORDER("ssh", "approve", 1, "POST", "ssh/*/approve", NULL, NULL, decide_check, "approved SSH session", 0) \
	ORDER("ssh", "reject", 1, "POST", "ssh/*/reject", NULL, NULL, decide_check, "rejected SSH session", \
	      ORDER_TAKES) \
	ORDER("page-key", "create", 0, "POST", "page-key", NULL, print_key, create_page_key, "created page key", 0) \
	ORDER("page-key", "delete", 0, "DELETE", "page-key", NULL, NULL, delete_page_key, "deleted page key", \
	      ORDER_TAKES) \
	ORDER("ca", "list", 0, "GET", "ca", NULL, print_authority, show_authority, NULL, 0) \
	ORDER("policy", "get", 0, "GET", "policy", NULL, print_policy, get_policy, NULL, 0) \
	ORDER("policy", "set", 1, "PUT", "policy", NULL, NULL, set_policy, "set policy", ORDER_TEXT) \
	ORDER("policy", "delete", 0, "DELETE", "policy", NULL, NULL, delete_policy, "deleted policy", ORDER_OPENS) \
	ORDER("policy", "check", 1, "POST", "policy/check", NULL, NULL, check_policy, NULL, \
	      ORDER_TEXT) \
	ORDER("debug", "netmap", 1, "GET", "netmap/*", NULL, print_any, show_netmap, NULL, 0)
/* clang-format on */
