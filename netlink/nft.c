/* SPDX-License-Identifier: BSD-3-Clause */
/* netlink/nft.c - our nftables table: no forged tailnet address comes in by another link */
#include "netlink/nft.h"

#include "base/cleanup.h"
#include "base/cursor.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_ipv4.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <string.h>

#define CHAIN_INPUT      "input"
#define CHAIN_OUTPUT     "output"
#define LOOPBACK_IFINDEX 1u
#define RULE_SIZE        768 /* the longest has some 700 bytes */
#define RULES_INPUT_MAX  (2 + 2 * ARRAY_SIZE(((struct prefix_set *)0)->list))
#define RULES_MAX        (RULES_INPUT_MAX + NET_DIVERTS_MAX)
#define TRANSACTION_SIZE (4096 + RULES_MAX * RULE_SIZE)
#define COMMENT_MAX      64
#define MESSAGE(type)    ((uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | (type)))

/* Where addresses stand in an IPv4 and an IPv6 header, and the destination's port in that of TCP (RFC
 * 791, 8200, 9293). */
#define SOURCE_OFFSET_V4        12
#define SOURCE_OFFSET_V6        8
#define DESTINATION_OFFSET_V4   16
#define DESTINATION_OFFSET_V6   24
#define DESTINATION_PORT_OFFSET 2

/* One atomic change of the rule set: all of its requests, or none. */
struct transaction {
	struct net_channel *channel;
	size_t used;
	uint32_t first;
	_Alignas(struct nlmsghdr) uint8_t data[TRANSACTION_SIZE];
};

void net_nft_table_name(uint32_t table, char out[static 32])
{
	if (table == NET_TABLE_DEFAULT)
		snprintf(out, 32, NET_NFT_TABLE);
	else
		snprintf(out, 32, NET_NFT_TABLE "-%u", table);
}

/* transaction_begin() - The pointer to hand to transaction_end(); requests come between */
static void transaction_begin(struct transaction *t, struct net_channel *channel)
{
	/* The data, 200 KB of stack, is touched only as far as it is used. */
	t->channel = channel;
	t->first = ++channel->sequence;
	nftnl_batch_begin((char *)t->data, t->first);
	t->used = NLMSG_ALIGN(((struct nlmsghdr *)(void *)t->data)->nlmsg_len);
}

/* request_begin() - Lay a request of @type at the end of @t; request_end() counts it */
static struct nlmsghdr *request_begin(struct transaction *t, uint16_t type, uint16_t family,
				      uint16_t flags)
{
	return nftnl_nlmsg_build_hdr((char *)t->data + t->used, type, family, flags,
				     ++t->channel->sequence);
}

static void request_end(struct transaction *t, const struct nlmsghdr *request)
{
	t->used += NLMSG_ALIGN(request->nlmsg_len);
}

/* transaction_commit() - The acknowledgement of the request @last means that all were carried out */
static int transaction_commit(struct transaction *t, struct nlmsghdr *last, struct error *err)
{
	uint32_t acknowledged = last->nlmsg_seq;

	last->nlmsg_flags |= NLM_F_ACK;
	nftnl_batch_end((char *)t->data + t->used, ++t->channel->sequence);
	t->used += NLMSG_ALIGN(((struct nlmsghdr *)(void *)(t->data + t->used))->nlmsg_len);
	return net_channel_commit(t->channel, t->data, t->used, t->first, acknowledged, err);
}

static struct nlmsghdr *table_request(struct transaction *t, uint16_t type, uint16_t flags,
				      const char *name)
{
	struct nlmsghdr *request = request_begin(t, type, NFPROTO_INET, flags);

	mnl_attr_put_strz(request, NFTA_TABLE_NAME, name);
	request_end(t, request);
	return request;
}

static void chain_request(struct transaction *t, const char *name, const char *chain,
			  const char *type, uint32_t hook_number, int priority)
{
	struct nlmsghdr *request = request_begin(t, NFT_MSG_NEWCHAIN, NFPROTO_INET, NLM_F_CREATE);
	struct nlattr *hook;

	mnl_attr_put_strz(request, NFTA_CHAIN_TABLE, name);
	mnl_attr_put_strz(request, NFTA_CHAIN_NAME, chain);
	hook = mnl_attr_nest_start(request, NFTA_CHAIN_HOOK);
	mnl_attr_put_u32(request, NFTA_HOOK_HOOKNUM, htonl(hook_number));
	mnl_attr_put_u32(request, NFTA_HOOK_PRIORITY, htonl((uint32_t)priority));
	mnl_attr_nest_end(request, hook);
	mnl_attr_put_u32(request, NFTA_CHAIN_POLICY, htonl(NF_ACCEPT));
	mnl_attr_put_strz(request, NFTA_CHAIN_TYPE, type);
	request_end(t, request);
}

/*
 * add() - Append an expression with @count numbers, (attribute, value) each
 *
 * Return: the expression, which is the rule's; NULL: out of memory
 */
static struct nftnl_expr *add(struct nftnl_rule *rule, const char *name,
			      const uint32_t numbers[][2], size_t count)
{
	struct nftnl_expr *e = nftnl_expr_alloc(name);

	if (!e)
		return NULL;
	for (size_t i = 0; i < count; i++)
		nftnl_expr_set_u32(e, (uint16_t)numbers[i][0], numbers[i][1]);
	nftnl_rule_add_expr(rule, e);
	return e;
}

/* ADD() - add() with the pairs as arguments */
#define ADD(rule, name, ...)                                    \
	add((rule), (name), (const uint32_t[][2]){__VA_ARGS__}, \
	    sizeof((const uint32_t[][2]){__VA_ARGS__}) / sizeof(uint32_t[2]))

static bool add_meta(struct nftnl_rule *rule, uint32_t key)
{
	return ADD(rule, "meta", {NFTNL_EXPR_META_KEY, key}, {NFTNL_EXPR_META_DREG, NFT_REG_1});
}

static bool add_compare(struct nftnl_rule *rule, uint32_t operation, const void *data,
			uint32_t length)
{
	struct nftnl_expr *e =
		ADD(rule, "cmp", {NFTNL_EXPR_CMP_SREG, NFT_REG_1}, {NFTNL_EXPR_CMP_OP, operation});

	return e && nftnl_expr_set(e, NFTNL_EXPR_CMP_DATA, data, length) == 0;
}

/* add_masked() - Compare register 1, masked with @mask, to @value by @operation */
static bool add_masked(struct nftnl_rule *rule, const void *mask, uint32_t operation,
		       const void *value, uint32_t length)
{
	static const uint8_t zero[16];
	struct nftnl_expr *e =
		ADD(rule, "bitwise", {NFTNL_EXPR_BITWISE_SREG, NFT_REG_1},
		    {NFTNL_EXPR_BITWISE_DREG, NFT_REG_1}, {NFTNL_EXPR_BITWISE_OP, NFT_BITWISE_BOOL},
		    {NFTNL_EXPR_BITWISE_LEN, length});

	return e && nftnl_expr_set(e, NFTNL_EXPR_BITWISE_MASK, mask, length) == 0 &&
	       nftnl_expr_set(e, NFTNL_EXPR_BITWISE_XOR, zero, length) == 0 &&
	       add_compare(rule, operation, value, length);
}

static bool add_payload(struct nftnl_rule *rule, uint32_t base, uint32_t offset, uint32_t length)
{
	return ADD(rule, "payload", {NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1},
		   {NFTNL_EXPR_PAYLOAD_BASE, base}, {NFTNL_EXPR_PAYLOAD_OFFSET, offset},
		   {NFTNL_EXPR_PAYLOAD_LEN, length});
}

static uint8_t protocol_of(const struct address *address)
{
	return address->family == ADDRESS_V4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
}

/* add_source_in() - The source address lies in @range */
static bool add_source_in(struct nftnl_rule *rule, const struct prefix *range)
{
	bool v4 = range->address.family == ADDRESS_V4;
	const uint8_t protocol = protocol_of(&range->address);
	uint32_t length = (uint32_t)address_length(&range->address);
	struct prefix mask = {.address.family = range->address.family, .bits = range->bits};

	memset(mask.address.bytes, 0xff, length);
	mask = prefix_mask(&mask);
	return add_meta(rule, NFT_META_NFPROTO) &&
	       add_compare(rule, NFT_CMP_EQ, &protocol, sizeof(protocol)) &&
	       add_payload(rule, NFT_PAYLOAD_NETWORK_HEADER,
			   v4 ? SOURCE_OFFSET_V4 : SOURCE_OFFSET_V6, length) &&
	       add_masked(rule, mask.address.bytes, NFT_CMP_EQ, range->address.bytes, length);
}

/* add_own_socket() - The packet is for a socket with our mark */
static bool add_own_socket(struct nftnl_rule *rule, uint32_t mark)
{
	const uint32_t mask = NET_MARK_MASK;

	return ADD(rule, "socket", {NFTNL_EXPR_SOCKET_KEY, NFT_SOCKET_MARK},
		   {NFTNL_EXPR_SOCKET_DREG, NFT_REG_1}) &&
	       add_masked(rule, &mask, NFT_CMP_EQ, &mark, sizeof(mark));
}

/* add_answer() - The packet belongs to a connection that this machine began */
static bool add_answer(struct nftnl_rule *rule)
{
	static const uint32_t states =
		NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED);

	return ADD(rule, "ct", {NFTNL_EXPR_CT_KEY, NFT_CT_STATE},
		   {NFTNL_EXPR_CT_DREG, NFT_REG_1}) &&
	       add_masked(rule, &states, NFT_CMP_NEQ, &(uint32_t){0}, sizeof(states));
}

/* add_source_leads_to() - fib saddr oif @ifindex */
static bool add_source_leads_to(struct nftnl_rule *rule, uint32_t ifindex)
{
	return ADD(rule, "fib", {NFTNL_EXPR_FIB_FLAGS, NFTA_FIB_F_SADDR},
		   {NFTNL_EXPR_FIB_RESULT, NFT_FIB_RESULT_OIF}, {NFTNL_EXPR_FIB_DREG, NFT_REG_1}) &&
	       add_compare(rule, NFT_CMP_EQ, &ifindex, sizeof(ifindex));
}

static bool add_verdict(struct nftnl_rule *rule, uint32_t verdict)
{
	return (verdict != NF_DROP || add(rule, "counter", NULL, 0)) &&
	       ADD(rule, "immediate", {NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT},
		   {NFTNL_EXPR_IMM_VERDICT, verdict});
}

static bool add_immediate(struct nftnl_rule *rule, uint32_t number, const void *data,
			  uint32_t length)
{
	struct nftnl_expr *e = ADD(rule, "immediate", {NFTNL_EXPR_IMM_DREG, number});

	return e && nftnl_expr_set(e, NFTNL_EXPR_IMM_DATA, data, length) == 0;
}

/* add_divert() - TCP to @divert's address and port gets its high port */
static bool add_divert(struct nftnl_rule *rule, const struct net_divert *divert)
{
	const struct address *own = &divert->to.address;
	const uint8_t protocol = protocol_of(own), tcp = IPPROTO_TCP;
	uint16_t served = htons(divert->to.port), high = htons(divert->high);
	uint32_t length = (uint32_t)address_length(own);

	return add_meta(rule, NFT_META_NFPROTO) &&
	       add_compare(rule, NFT_CMP_EQ, &protocol, sizeof(protocol)) &&
	       add_payload(rule, NFT_PAYLOAD_NETWORK_HEADER,
			   own->family == ADDRESS_V4 ? DESTINATION_OFFSET_V4
						     : DESTINATION_OFFSET_V6,
			   length) &&
	       add_compare(rule, NFT_CMP_EQ, own->bytes, length) &&
	       add_meta(rule, NFT_META_L4PROTO) &&
	       add_compare(rule, NFT_CMP_EQ, &tcp, sizeof(tcp)) &&
	       add_payload(rule, NFT_PAYLOAD_TRANSPORT_HEADER, DESTINATION_PORT_OFFSET,
			   sizeof(served)) &&
	       add_compare(rule, NFT_CMP_EQ, &served, sizeof(served)) &&
	       add_immediate(rule, NFT_REG_1, own->bytes, length) &&
	       add_immediate(rule, NFT_REG_2, &high, sizeof(high)) &&
	       ADD(rule, "nat", {NFTNL_EXPR_NAT_TYPE, NFT_NAT_DNAT},
		   {NFTNL_EXPR_NAT_FAMILY, protocol}, {NFTNL_EXPR_NAT_REG_ADDR_MIN, NFT_REG_1},
		   {NFTNL_EXPR_NAT_REG_PROTO_MIN, NFT_REG_2});
}

static bool add_comment(struct nftnl_rule *rule, const char *comment)
{
	struct nftnl_udata_buf *data = nftnl_udata_buf_alloc(NFT_USERDATA_MAXLEN);
	bool done;

	if (!data)
		return false;
	done = nftnl_udata_put_strz(data, NFTNL_UDATA_RULE_COMMENT, comment) &&
	       nftnl_rule_set_data(rule, NFTNL_RULE_USERDATA, nftnl_udata_buf_data(data),
				   nftnl_udata_buf_len(data)) == 0;
	nftnl_udata_buf_free(data);
	return done;
}

enum rule_kind {
	RULE_OWN_SOCKETS,
	RULE_FORGED, /* the source leads into the tunnel */
	RULE_ANSWERS,
	RULE_WHOLE,  /* the source is in a range, whether it leads anywhere or not */
	RULE_DIVERT, /* in the chain `output` */
};

/* @range NULL: every source; @divert: of RULE_DIVERT. */
struct rule {
	enum rule_kind kind;
	const struct prefix *range;
	const struct net_divert *divert;
};

/* The rules that a table holds, in order. */
struct rules {
	struct rule list[RULES_MAX];
	unsigned int count;
	bool diverts;
};

static struct rules rules_of(const struct net_nft_wanted *wanted, unsigned int parts)
{
	const struct prefix_set *ranges = &wanted->ranges;
	struct rules rules = {.diverts = parts & NET_NFT_DIVERTS && wanted->divert_count > 0};

	for (size_t i = 0; rules.diverts && i < wanted->divert_count; i++) {
		rules.list[rules.count].kind = RULE_DIVERT;
		rules.list[rules.count++].divert = &wanted->diverts[i];
	}
	if (parts & NET_NFT_OWN_SOCKETS)
		rules.list[rules.count++].kind = RULE_OWN_SOCKETS;
	if (wanted->all)
		rules.list[rules.count++].kind = RULE_FORGED;
	for (size_t i = 0; !wanted->all && i < ranges->count; i++) {
		rules.list[rules.count].kind = RULE_FORGED;
		rules.list[rules.count++].range = &ranges->list[i];
	}
	if (!(parts & NET_NFT_WHOLE) || !wanted->whole)
		return rules;
	rules.list[rules.count++].kind = RULE_ANSWERS;
	for (size_t i = 0; i < ranges->count; i++) {
		if (!(wanted->whole & 1u << i))
			continue;
		rules.list[rules.count].kind = RULE_WHOLE;
		rules.list[rules.count++].range = &ranges->list[i];
	}
	return rules;
}

/* add_expressions() - What @one matches, and its verdict */
static bool add_expressions(struct nftnl_rule *rule, const struct rule *one,
			    const struct net_nft_wanted *wanted)
{
	const uint32_t loopback = LOOPBACK_IFINDEX, ifindex = wanted->ifindex;

	switch (one->kind) {
	case RULE_DIVERT:
		return add_divert(rule, one->divert);
	case RULE_OWN_SOCKETS:
		return add_own_socket(rule, wanted->mark) && add_verdict(rule, NF_ACCEPT);
	case RULE_ANSWERS:
		return add_answer(rule) && add_verdict(rule, NF_ACCEPT);
	case RULE_FORGED:
	case RULE_WHOLE:
		break;
	}
	return add_meta(rule, NFT_META_IIF) &&
	       add_compare(rule, NFT_CMP_NEQ, &loopback, sizeof(loopback)) &&
	       add_compare(rule, NFT_CMP_NEQ, &ifindex, sizeof(ifindex)) &&
	       (!one->range || add_source_in(rule, one->range)) &&
	       (one->kind == RULE_WHOLE || add_source_leads_to(rule, ifindex)) &&
	       add_verdict(rule, NF_DROP);
}

/* rule_request() - One rule; NULL: out of memory */
static struct nlmsghdr *rule_request(struct transaction *t, const char *name,
				     const struct rule *one, const struct net_nft_wanted *wanted,
				     const char *comment)
{
	const char *chain = one->kind == RULE_DIVERT ? CHAIN_OUTPUT : CHAIN_INPUT;
	struct nftnl_rule *rule = nftnl_rule_alloc();
	struct nlmsghdr *request = NULL;

	if (rule && nftnl_rule_set_str(rule, NFTNL_RULE_TABLE, name) == 0 &&
	    nftnl_rule_set_str(rule, NFTNL_RULE_CHAIN, chain) == 0 && add_comment(rule, comment) &&
	    add_expressions(rule, one, wanted)) {
		request = request_begin(t, NFT_MSG_NEWRULE, NFPROTO_INET,
					NLM_F_CREATE | NLM_F_APPEND);
		nftnl_rule_nlmsg_build_payload(request, rule);
		request_end(t, request);
	}
	if (rule)
		nftnl_rule_free(rule);
	return request;
}

/* hash_more() - FNV-1a */
static uint64_t hash_more(uint64_t hash, const void *data, size_t length)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
	return hash;
}

/* write_comment() - What a table was made for; different for each @wanted and @parts */
static void write_comment(const struct net_nft_wanted *wanted, unsigned int parts,
			  char out[static COMMENT_MAX])
{
	uint64_t hash = hash_more(UINT64_C(0xcbf29ce484222325), wanted,
				  offsetof(struct net_nft_wanted, diverts));

	for (size_t i = 0; i < wanted->divert_count; i++) {
		const struct net_divert *divert = &wanted->diverts[i];

		hash = hash_more(hash, divert->to.address.bytes,
				 address_length(&divert->to.address));
		hash = hash_more(hash, &divert->to.port, sizeof(divert->to.port));
		hash = hash_more(hash, &divert->high, sizeof(divert->high));
	}
	snprintf(out, COMMENT_MAX, "link %u: forged sources, own served ports (%u, %016llx)",
		 wanted->ifindex, parts, (unsigned long long)hash);
}

/* How many rules the table has, and how many of them were made for each choice of parts. */
struct census {
	char comments[NET_NFT_PARTS + 1][COMMENT_MAX];
	unsigned int rules;
	unsigned int right[NET_NFT_PARTS + 1];
};

/* parse_comment() - nft's user data: type u8, length u8, value */
static void parse_comment(struct cursor data, char out[static 64])
{
	while (data.left > 0) {
		uint8_t type = cursor_u8(&data), length = cursor_u8(&data);
		const uint8_t *value = cursor_take(&data, length);

		if (!value)
			return;
		if (type == NFTNL_UDATA_RULE_COMMENT && length > 0 && length <= 64 &&
		    value[length - 1] == 0)
			memcpy(out, value, length);
	}
}

int net_nft_parse_rule(const struct nlmsghdr *message, char ret_table[static 64],
		       char ret_comment[static 64])
{
	char table[64] = "", comment[64] = "";
	struct nlattr *a;
	int left;

	if (!net_attributes_are_whole(message, sizeof(struct nfgenmsg)))
		return -EBADMSG;
	nlmsg_for_each_attr(a, message, sizeof(struct nfgenmsg), left)
	{
		if (nla_type(a) == NFTA_RULE_TABLE)
			nla_strlcpy(table, a, sizeof(table));
		else if (nla_type(a) == NFTA_RULE_USERDATA)
			parse_comment(cursor_of(nla_data(a), (size_t)nla_len(a)), comment);
	}
	memcpy(ret_table, table, sizeof(table));
	memcpy(ret_comment, comment, sizeof(comment));
	return 0;
}

static int take_rule(struct nlmsghdr *message, void *context)
{
	char table[64], comment[COMMENT_MAX];
	struct census *census = context;
	int r;

	if (message->nlmsg_type != MESSAGE(NFT_MSG_NEWRULE))
		return 0;
	r = net_nft_parse_rule(message, table, comment);
	if (r < 0)
		return r;
	census->rules++;
	for (unsigned int parts = 0; parts <= NET_NFT_PARTS; parts++)
		census->right[parts] += strcmp(comment, census->comments[parts]) == 0;
	return 0;
}

static int take_anything(struct nlmsghdr *message, void *context)
{
	(void)message;
	(void)context;
	return 0;
}

/* count_rules() - Walk the rules of both chains; a table that isn't there has none */
static int count_rules(struct net_channel *channel, const char *name, struct census *census)
{
	_Alignas(struct nlmsghdr) uint8_t buffer[NET_REQUEST_SIZE] = {0};
	struct nlmsghdr *request =
		nftnl_nlmsg_build_hdr((char *)buffer, NFT_MSG_GETRULE, NFPROTO_INET, NLM_F_DUMP, 0);

	mnl_attr_put_strz(request, NFTA_RULE_TABLE, name);
	return net_channel_ask(channel, request, take_rule, census, NULL);
}

static int table_exists(struct net_channel *channel, const char *name)
{
	_Alignas(struct nlmsghdr) uint8_t buffer[NET_REQUEST_SIZE] = {0};
	struct nlmsghdr *request =
		nftnl_nlmsg_build_hdr((char *)buffer, NFT_MSG_GETTABLE, NFPROTO_INET, 0, 0);

	mnl_attr_put_strz(request, NFTA_TABLE_NAME, name);
	return net_channel_ask(channel, request, take_anything, NULL, NULL);
}

static int remove_table(struct net_channel *channel, const char *name, bool *changed,
			struct error *err)
{
	struct transaction t;
	int r = table_exists(channel, name);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return error_set_errno(err, r, "look for the nft table %s", name);
	transaction_begin(&t, channel);
	r = transaction_commit(&t, table_request(&t, NFT_MSG_DELTABLE, 0, name), err);
	if (r < 0 && r != -ENOENT)
		return r;
	*changed = r == 0;
	return 0;
}

/* replace_table() - In one transaction, so that there is no gap */
static int replace_table(struct net_channel *channel, const char *name,
			 const struct net_nft_wanted *wanted, const struct rules *rules,
			 const char *comment, struct error *err)
{
	struct nlmsghdr *last = NULL;
	struct transaction t;

	/* Deleting needs a table, so it is made first. */
	transaction_begin(&t, channel);
	table_request(&t, NFT_MSG_NEWTABLE, NLM_F_CREATE, name);
	table_request(&t, NFT_MSG_DELTABLE, 0, name);
	table_request(&t, NFT_MSG_NEWTABLE, NLM_F_CREATE, name);
	chain_request(&t, name, CHAIN_INPUT, "filter", NF_INET_LOCAL_IN, NF_IP_PRI_FILTER);
	if (rules->diverts)
		chain_request(&t, name, CHAIN_OUTPUT, "nat", NF_INET_LOCAL_OUT, NF_IP_PRI_NAT_DST);
	for (unsigned int i = 0; i < rules->count; i++) {
		if (sizeof(t.data) - t.used < 2 * RULE_SIZE)
			return error_set_errno(err, -E2BIG, "nft rules");
		last = rule_request(&t, name, &rules->list[i], wanted, comment);
		if (!last)
			return error_set_errno(err, -ENOMEM, "nft rule");
	}
	return transaction_commit(&t, last, err);
}

int net_nft_apply(struct net_channel *channel, const char *name,
		  const struct net_nft_wanted *wanted, bool *changed, unsigned int *ret_parts,
		  struct error *err)
{
	struct census census = {0};
	int r;

	*changed = false;
	*ret_parts = NET_NFT_PARTS;
	if (!wanted)
		return remove_table(channel, name, changed, err);
	for (unsigned int parts = 0; parts <= NET_NFT_PARTS; parts++)
		write_comment(wanted, parts, census.comments[parts]);
	r = count_rules(channel, name, &census);
	for (unsigned int left = NET_NFT_PARTS + 1; r == 0 && left-- > 0;) {
		*ret_parts = left;
		if (census.rules > 0 && census.right[left] == census.rules &&
		    rules_of(wanted, left).count == census.rules)
			return 0;
	}
	for (unsigned int left = NET_NFT_PARTS + 1; left-- > 0;) {
		const struct rules rules = rules_of(wanted, left);

		*ret_parts = left;
		r = replace_table(channel, name, wanted, &rules, census.comments[left], err);
		if (r != -ENOENT && r != -EOPNOTSUPP)
			break;
	}
	*changed = r == 0;
	return r;
}

unsigned int net_nft_flush_official(struct net_channel *channel)
{
	static const struct {
		const char *table;
		const char *chain;
	} rows[] = {
		{"filter", "ts-input"},
		{"filter", "ts-forward"},
		{"nat", "ts-postrouting"},
	};
	static const uint16_t protocols[] = {NFPROTO_IPV4, NFPROTO_IPV6};
	unsigned int emptied = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rows) * ARRAY_SIZE(protocols); i++) {
		struct nlmsghdr *request;
		struct transaction t;

		transaction_begin(&t, channel);
		request =
			request_begin(&t, NFT_MSG_DELRULE, protocols[i % ARRAY_SIZE(protocols)], 0);
		mnl_attr_put_strz(request, NFTA_RULE_TABLE, rows[i / ARRAY_SIZE(protocols)].table);
		mnl_attr_put_strz(request, NFTA_RULE_CHAIN, rows[i / ARRAY_SIZE(protocols)].chain);
		request_end(&t, request);
		emptied += transaction_commit(&t, request, NULL) == 0;
	}
	return emptied;
}
