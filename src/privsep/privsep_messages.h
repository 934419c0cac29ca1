/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * privsep/privsep_messages.h - the messages between supervisor and children
 *
 * DOC: Theory of operation
 *
 * Each child has a SOCK_SEQPACKET pair, so a packet is a message. A message is one struct of a
 * fixed size that begins with struct privsep_header; file descriptors travel by SCM_RIGHTS. Data
 * of variable length (configuration, lists, blobs) is in a sealed memfd, which neither end can
 * change later. One table has the size of each type, its descriptors, the limit of its memfd and
 * the kinds of processes that may send it. privsep_receive() checks all of that and every enum.
 * An invalid message ends the connection, since the sender is broken or captured.
 *
 * Requests carry an id, which the answer repeats. The supervisor answers in order but never
 * blocks: requests that take long (a blob, netlink) are answered later.
 */
#pragma once

#include "base/socket_source.h"
#include "privsep/privsep_network.h"
#include "privsep/privsep_serve.h"
#include "privsep/start_config.h"

#include <stddef.h>
#include <stdint.h>

#define PRIVSEP_TEXT_MAX   512  /* status and warning lines, with the zero */
#define PRIVSEP_DOMAIN_MAX 256  /* a host name, with the zero; perhaps with "*." before it */
#define PRIVSEP_FDS_MAX    12   /* descriptors in one message */
#define PRIVSEP_TUN_MAX    4    /* queues of the TUN; the engine has one thread, and so one */
#define PRIVSEP_BELOW_MAX  4096 /* a file's name below a served folder, with the zero */
#define PRIVSEP_CHANNEL_FD 3    /* where a child finds its end; its log pipe is stderr */

/* Largest size of a sealed memfd, by content. */
#define PRIVSEP_START_MAX      (128u * 1024)
#define PRIVSEP_NETWORK_MAX    (8u * 1024 * 1024)
#define PRIVSEP_INTERFACES_MAX (64u * 1024)
#define PRIVSEP_BLOB_MAX       (16u * 1024 * 1024)
#define PRIVSEP_SERVE_MAX      (512u * 1024)
#define PRIVSEP_CERT_MAX       (640u * 1024)
#define PRIVSEP_DIVERT_MAX     (32u * 1024)
#define PRIVSEP_FOLDER_MAX     (1024u * 1024)
#define PRIVSEP_CSR_MAX        (16u * 1024)
#define PRIVSEP_CHAIN_MAX      (64u * 1024)

#define PRIVSEP_NAME_MAX      272 /* "_acme-challenge." and a name, with the zero */
#define PRIVSEP_CHALLENGE_MAX 128

enum privsep_type {
	/* engine → supervisor */
	PRIVSEP_SOCKET = 1, /* struct privsep_socket: a marked socket; answered at once */
	PRIVSEP_FILE,       /* struct privsep_file: a named file; answered at once, then watched */
	PRIVSEP_LOAD,       /* struct privsep_blob: read a blob; answered at once */
	PRIVSEP_STORE,   /* struct privsep_blob + memfd: keep a blob; answered when it is on disk */
	PRIVSEP_NETWORK, /* struct privsep_plain + memfd: wanted network state; answered when
			    applied */
	PRIVSEP_STATUS,  /* struct privsep_status: the node's state and one line; no answer */
	PRIVSEP_LOGIN,   /* struct privsep_login: the URL of a login; no answer */
	PRIVSEP_ALIVE,   /* struct privsep_plain: the answer to PRIVSEP_PING */
	PRIVSEP_SETTLED, /* struct privsep_plain: prefs and `up` of the start are stored; the next
			    engines do not receive them again */
	PRIVSEP_SERVE,   /* struct privsep_plain + memfd: wanted services; answered when listeners
			    are open */
	/* services → supervisor; files and blobs as well */
	PRIVSEP_CONNECT, /* struct privsep_connect: a socket that connects to a target; answered at
			    once */
	PRIVSEP_UNUSED, /* struct privsep_plain: no connection for some time; the process may end if
			    nothing but the PeerAPI is served */
	PRIVSEP_OPEN,   /* struct privsep_open: a served file or folder; answered when it is open */
	/* supervisor → engine */
	PRIVSEP_START,      /* struct privsep_begin + descriptors: the first message */
	PRIVSEP_REPLY,      /* struct privsep_reply [+ one descriptor]: the answer to a request */
	PRIVSEP_INTERFACES, /* struct privsep_plain + memfd: the machine's current addresses */
	PRIVSEP_CHANGED,    /* struct privsep_changed [+ descriptor]: a named file has changed */
	PRIVSEP_STOP,       /* struct privsep_plain: end in order, soon */
	PRIVSEP_PING,       /* struct privsep_plain: does the child's loop still run? */
	PRIVSEP_DIVERT,     /* struct privsep_plain + memfd: all ports that services listen at */
	PRIVSEP_LINK,       /* struct privsep_plain + descriptor: a channel of engine and services;
			       it replaces the one before */
	/* supervisor → services */
	PRIVSEP_SERVING,  /* struct privsep_plain + memfd: as in PRIVSEP_SERVE, with a new id; the
			     first message */
	PRIVSEP_LISTENER, /* struct privsep_listener + descriptor: a port is served from now on */
	/* services → engine, on the channel of PRIVSEP_LINK */
	PRIVSEP_WHO,  /* struct privsep_who: the owner of an address */
	PRIVSEP_TXT,  /* struct privsep_txt: control shall publish an ACME challenge in DNS */
	PRIVSEP_SIGN, /* struct privsep_plain + memfd (PEM, a certificate request): the authority
			 of control shall sign it */
	PRIVSEP_CERT_ANSWER, /* struct privsep_answer [+ memfd: PEM, the key first]: to PRIVSEP_CERT */
	PRIVSEP_CERT_STATE, /* struct privsep_cert_state: what HTTPS proves itself by now */
	/* engine → services */
	PRIVSEP_CERT,   /* struct privsep_cert: a certificate and its key, for a local program */
	PRIVSEP_PERSON, /* struct privsep_person_message: the answer */
	PRIVSEP_PEOPLE, /* struct privsep_plain: earlier answers of that kind hold no longer */
	PRIVSEP_ANSWER, /* struct privsep_answer [+ memfd: PEM, the chain]: to PRIVSEP_TXT and
			   PRIVSEP_SIGN */
	PRIVSEP_TYPE_END,
};

/* Files that the engine may request by name, never by path. One read-only descriptor each. */
enum privsep_file_name {
	PRIVSEP_FILE_RESOLV_CONF, /* /etc/resolv.conf */
	PRIVSEP_FILE_HOSTS,       /* /etc/hosts */
	PRIVSEP_FILE_PASSWD,      /* /etc/passwd */
	PRIVSEP_FILE_CA_SYSTEM,   /* the distribution's bundle; -ENOENT too where SSL_CERT_FILE and
				   * SSL_CERT_DIR are both set, since then nothing else is trusted */
	PRIVSEP_FILE_CA_FILE, /* --ca-file or TS_CA_FILE, else SSL_CERT_FILE: PEM, trusted as well
			       */
	PRIVSEP_FILE_CA_DIRECTORY, /* SSL_CERT_DIR: the PEM of all its files, joined, in a memfd */
	PRIVSEP_FILE_AUTH_KEY,     /* the auth key's text, trimmed, in a memfd */
	PRIVSEP_FILE_SERVE_CONFIG, /* TS_SERVE_CONFIG: JSON */
	PRIVSEP_FILE_CERTIFICATE,  /* --cert: PEM, the leaf first; for services */
	PRIVSEP_FILE_CERTIFICATE_KEY, /* --key: PEM; for services */
	PRIVSEP_FILE_ACME_EAB, /* --acme-eab-hmac: its text or its file's, trimmed, in a memfd; for
				* services */
	PRIVSEP_FILE_DNS_KEY,  /* --acme-dns-key, the same */
	PRIVSEP_FILE_COUNT,
};

/* Blobs, by name and never by path. */
enum privsep_blob_name {
	PRIVSEP_BLOB_STATE,       /* <statedir>/tailscaled.state, in the official layout */
	PRIVSEP_BLOB_CACHE,       /* <statedir>/pillion.cache */
	PRIVSEP_BLOB_AUTHORITY,   /* <statedir>/pillion-authority.pem; for services */
	PRIVSEP_BLOB_ACME_PAUSES, /* <statedir>/pillion-acme.json; for services */
	/* In the official layout of <statedir>/certs/; for services */
	PRIVSEP_BLOB_ACME_ACCOUNT, /* acme-account.key.pem */
	PRIVSEP_BLOB_DOMAIN,       /* from here on with the name of a domain in the message */
	PRIVSEP_BLOB_DOMAIN_CERTIFICATE = PRIVSEP_BLOB_DOMAIN, /* DOMAIN.crt */
	PRIVSEP_BLOB_DOMAIN_KEY,                               /* DOMAIN.key */
	PRIVSEP_BLOB_COUNT,
};

/* The node's state, as far as the supervisor's exit rules need it. */
enum privsep_state {
	PRIVSEP_STATE_NONE,
	PRIVSEP_STATE_NEEDS_LOGIN,
	PRIVSEP_STATE_NEEDS_MACHINE_AUTH,
	PRIVSEP_STATE_STARTING,
	PRIVSEP_STATE_RUNNING, /* the first one makes "Startup complete …" */
	PRIVSEP_STATE_STOPPED,
	PRIVSEP_STATE_COUNT,
};

struct privsep_header {
	uint32_t type; /* enum privsep_type */
	uint32_t id;   /* of the request; 0 where there is none */
};

struct privsep_plain {
	struct privsep_header header;
};

struct privsep_socket {
	struct privsep_header header;
	uint32_t kind;   /* enum socket_kind */
	uint32_t family; /* enum address_family, not ADDRESS_NONE */
};

struct privsep_file {
	struct privsep_header header;
	uint32_t name; /* enum privsep_file_name */
};

struct privsep_blob {
	struct privsep_header header;
	uint32_t name;                   /* enum privsep_blob_name */
	char domain[PRIVSEP_DOMAIN_MAX]; /* from PRIVSEP_BLOB_DOMAIN on; else "" */
};

struct privsep_status {
	struct privsep_header header;
	uint32_t state;              /* enum privsep_state */
	char text[PRIVSEP_TEXT_MAX]; /* for people, if the supervisor ends because of it */
};

struct privsep_login {
	struct privsep_header header;
	char url[PRIVSEP_TEXT_MAX]; /* printable ASCII without spaces, not empty */
};

/*
 * Descriptors of PRIVSEP_START, in this order: configuration memfd, hand-over
 * memfd, then as many as each count says: LocalAPI listener, health listener,
 * UDP over IPv4, UDP over IPv6, TUN queues.
 */
struct privsep_begin {
	struct privsep_header header;
	uint32_t localapi; /* 0 or 1 */
	uint32_t health;   /* 0 or 1 */
	uint32_t udp_v4;   /* 0 or 1 */
	uint32_t udp_v6;   /* 0 or 1 */
	uint32_t tun;      /* 1 to PRIVSEP_TUN_MAX */
};

struct privsep_reply {
	struct privsep_header header; /* id of the request */
	int32_t result;               /* 0 or negative errno */
	uint32_t reserved;            /* 0 */
	char text[PRIVSEP_TEXT_MAX];  /* a warning or the error in words; may be empty */
};

struct privsep_changed {
	struct privsep_header header;
	uint32_t name;  /* enum privsep_file_name */
	int32_t result; /* 0 and a descriptor, or negative errno (the file was removed) */
};

struct privsep_connect {
	struct privsep_header header;
	uint32_t target;  /* index, below SERVE_WISH_TARGETS_MAX */
	uint32_t address; /* of its addresses, below SERVE_TARGET_ADDRESSES_MAX */
	uint32_t serving; /* id of the PRIVSEP_SERVING whose target it is: another one is refused */
};

/* What PRIVSEP_OPEN answers with, in the text of struct privsep_reply. */
#define PRIVSEP_OPENED_FILE   "file"
#define PRIVSEP_OPENED_INDEX  "index"  /* the file index.html of the folder */
#define PRIVSEP_OPENED_FOLDER "folder" /* a memfd: struct privsep_folder, then names */

struct privsep_open {
	struct privsep_header header;
	uint32_t serving; /* id of the PRIVSEP_SERVING that has the path: another one is refused */
	uint32_t path;    /* index of the path, below SERVE_WISH_PATHS_MAX */
	char name[PRIVSEP_BELOW_MAX]; /* below it: without ".", ".." and empty parts; "": itself */
};

/* The head of a listing; behind it names, each ended by a zero, those of folders by "/" and zero. */
struct privsep_folder {
	int64_t modified; /* seconds since 1970 */
	uint32_t count;   /* of names */
	uint32_t cut;     /* 1: there are more, which did not fit */
};

struct privsep_listener {
	struct privsep_header header;
	uint32_t port; /* the served one; 0: of --acme-listen, for proofs of ACME alone */
};

struct privsep_who {
	struct privsep_header header;
	struct address address;
};

struct privsep_person_message {
	struct privsep_header header;
	struct privsep_person person;
};

struct privsep_txt {
	struct privsep_header header;
	char name[PRIVSEP_NAME_MAX];       /* _acme-challenge.NAME, not empty */
	char value[PRIVSEP_CHALLENGE_MAX]; /* base64url, not empty */
};

struct privsep_answer {
	struct privsep_header header; /* id of the question */
	int32_t result;               /* 0 or negative errno: -ENOTCONN (no connection to control),
				       * -EOPNOTSUPP (control does not do that), -EACCES (refused),
				       * -EAGAIN (later), -EBUSY … */
	uint32_t retry_after;         /* seconds that control named; 0: none */
	char text[PRIVSEP_TEXT_MAX];  /* why it failed; "" if it did not */
};

enum privsep_cert_kind {
	PRIVSEP_CERT_PAIR,
	PRIVSEP_CERT_AUTHORITY, /* the certificate of the node's own authority; no key */
	PRIVSEP_CERT_KINDS,
};

struct privsep_cert {
	struct privsep_header header;
	uint32_t kind;                   /* enum privsep_cert_kind */
	uint32_t min_validity;           /* seconds that it has to be good for */
	char domain[PRIVSEP_DOMAIN_MAX]; /* "" for PRIVSEP_CERT_AUTHORITY */
};

enum privsep_cert_source {
	PRIVSEP_CERT_NONE,
	PRIVSEP_CERT_FILES,
	PRIVSEP_CERT_ACME,
	PRIVSEP_CERT_CONTROL,
	PRIVSEP_CERT_OWN,
	PRIVSEP_CERT_SOURCES,
};

#define PRIVSEP_DIGEST_MAX 65 /* a SHA-256 in hexadecimal digits */

struct privsep_cert_state {
	struct privsep_header header;
	int64_t end;                        /* seconds since 1970; 0: unknown */
	uint32_t source;                    /* enum privsep_cert_source */
	uint32_t pending;                   /* 0 or 1: one by ACME is wanted, and not there yet */
	char domain[PRIVSEP_DOMAIN_MAX];    /* or "" */
	char digest[PRIVSEP_DIGEST_MAX];    /* of the certificate; or "" */
	char authority[PRIVSEP_DIGEST_MAX]; /* of the node's own authority, if it has one; or "" */
	char problem[PRIVSEP_TEXT_MAX];     /* why there is no new one; or "" */
};

union privsep_message {
	struct privsep_header header;
	struct privsep_plain plain;
	struct privsep_socket socket;
	struct privsep_file file;
	struct privsep_blob blob;
	struct privsep_status status;
	struct privsep_login login;
	struct privsep_begin begin;
	struct privsep_reply reply;
	struct privsep_changed changed;
	struct privsep_connect connect;
	struct privsep_open open;
	struct privsep_listener listener;
	struct privsep_who who;
	struct privsep_person_message person;
	struct privsep_txt txt;
	struct privsep_answer answer;
	struct privsep_cert cert;
	struct privsep_cert_state cert_state;
};

/* Senders of messages: a bit for each kind of process, so that a set of them is one number. */
enum privsep_sender {
	PRIVSEP_FROM_SUPERVISOR = 1 << 0,
	PRIVSEP_FROM_ENGINE = 1 << 1,
	PRIVSEP_FROM_SERVICES = 1 << 2,
	PRIVSEP_FROM_ANY_CHILD = ~PRIVSEP_FROM_SUPERVISOR,
};

/** privsep_domain_fits() - Whether it is a lower-case host name, or "*." before one: no path */
bool privsep_domain_fits(const char *domain);

/** privsep_memfd_seal() - As memfd_seal(), for a message of @type; -EMSGSIZE past its limit */
int privsep_memfd_seal(enum privsep_type type, const void *bytes, size_t length);

/** privsep_memfd_read() - As memfd_read(), with the limit of @type */
int privsep_memfd_read(enum privsep_type type, int fd, struct buffer *ret);

/** struct privsep_fds - Descriptors of a message; -1 if taken out */
struct privsep_fds {
	int fd[PRIVSEP_FDS_MAX];
	size_t count;
};

/** privsep_fds_close() - Close the descriptors that were not taken out */
void privsep_fds_close(struct privsep_fds *fds);

/**
 * privsep_size() - Bytes of a message of @type
 *
 * Return: the size, or 0 where @sender may not send that type
 */
size_t privsep_size(enum privsep_sender sender, uint32_t type);

/**
 * privsep_check() - Whether bytes are a message that @sender may send
 * @bytes:    as received
 * @length:   their number
 * @fd_count: descriptors of the message
 * @ret:      the message, its texts ended by a zero; untouched on failure
 *
 * Checks size, type, enums, counts of descriptors, ends of texts, reserved fields.
 * Return: 0 or -EBADMSG
 */
int privsep_check(enum privsep_sender sender, const void *bytes, size_t length, size_t fd_count,
		  union privsep_message *ret);

/**
 * privsep_send() - Send one message; the descriptors stay the caller's
 * @channel: SOCK_SEQPACKET, blocking or not
 * @message: its header says the type, which says the size
 *
 * Return: 0, -EAGAIN on a full non-blocking channel, -EPIPE if the other end is closed
 */
int privsep_send(int channel, enum privsep_sender sender, const union privsep_message *message,
		 const int *fds, size_t fd_count);

/**
 * privsep_receive() - Receive and check one message, without waiting
 * @sender:  the kind of process at the other end
 * @ret:     the message; untouched on failure
 * @ret_fds: its descriptors, close-on-exec, the caller's; empty on failure
 *
 * Return: 0; -EAGAIN if there is none; -EPIPE if the other end is closed; -EBADMSG for an
 * invalid message (all descriptors closed): the connection must end
 */
int privsep_receive(int channel, enum privsep_sender sender, union privsep_message *ret,
		    struct privsep_fds *ret_fds);
