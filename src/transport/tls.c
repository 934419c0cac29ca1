/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/tls.c - TLS over any stream
 *
 * Theory of operation
 *   OpenSSL reads and writes through a BIO of our own: reading takes from the layer's input, the
 *   ciphertext that the stream below is just delivering, writing goes to that stream.
 */
#include "base/cleanup.h"
#include "base/limits.h"
#include "transport/stream_layer.h"
#include "transport/tls_internal.h"

#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sslerr.h>
#include <stdlib.h>
#include <string.h>

#define PLAIN_SIZE (16 * 1024) /* one record */

/* RFC 8446 §4, §5.1 */
#define RECORD_HEAD       5
#define RECORD_CIPHER     20 /* ChangeCipherSpec */
#define RECORD_HANDSHAKE  22
#define MESSAGE_HEAD      4
#define CLIENT_HELLO      1
#define CLIENT_HELLO_MAX  (8 * 1024)                /* those of browsers have less than 4 KiB */
#define CLIENT_HELLO_WIRE (CLIENT_HELLO_MAX + 1024) /* with the heads of its records */

/* What TLS adds to a write, generously: 22 bytes a record of up to 16 KiB, and alerts. */
#define OVERHEAD(length) ((length) / 512 + 1024)

struct tls {
	struct stream_layer layer;
	struct tls_context *context;
	SSL *ssl;
	struct tls_verification verification;
	int write_error;        /* of the stream below */
	struct buffer *gathers; /* records of one write, which go down together; or NULL */
	bool server;
	const char *protocols; /* of ALPN, or NULL */
	size_t held_back;      /* bytes of the input that OpenSSL may not have yet */
};

static struct tls *tls_of(const struct stream_layer *layer)
{
	return container_of(layer, struct tls, layer);
}

static BIO_METHOD *bio_method;

static int bio_read(BIO *bio, char *out, int size)
{
	struct tls *t = BIO_get_data(bio);
	size_t length = t->layer.input.left - t->held_back;

	BIO_clear_retry_flags(bio);
	if (length == 0 || size <= 0) {
		BIO_set_retry_read(bio);
		return -1;
	}
	if (length > (size_t)size)
		length = (size_t)size;
	cursor_copy(&t->layer.input, out, length);
	return (int)length;
}

static int bio_write(BIO *bio, const char *bytes, int length)
{
	struct tls *t = BIO_get_data(bio);
	int r = 0;

	if (length > 0)
		r = t->gathers ? buffer_append(t->gathers, bytes, (size_t)length)
			       : stream_write(t->layer.below, bytes, (size_t)length);
	BIO_clear_retry_flags(bio);
	if (r < 0)
		t->write_error = r;
	return r < 0 ? -1 : length;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
	(void)bio;
	(void)number;
	(void)pointer;
	return command == BIO_CTRL_FLUSH;
}

int tls_init(struct error *err)
{
	/*
	 * Neither openssl.cnf, which may name modules to load, nor the tables of error
	 * texts, which cost more memory than a connection.
	 */
	if (OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_LOAD_SSL_STRINGS |
				     OPENSSL_INIT_NO_LOAD_CRYPTO_STRINGS,
			     NULL) != 1)
		return error_set(err, -ENOMEM, "OpenSSL can't be initialised");
	if (!bio_method) {
		bio_method =
			BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "pillion stream");
		if (!bio_method)
			return error_set(err, -ENOMEM, "out of memory");
		BIO_meth_set_read(bio_method, bio_read);
		BIO_meth_set_write(bio_method, bio_write);
		BIO_meth_set_ctrl(bio_method, bio_control);
	}
	if (tls_verify_init() < 0)
		return error_set(err, -ENOMEM, "out of memory");
	return 0;
}

static SSL_CTX *new_ctx(const SSL_METHOD *method)
{
	SSL_CTX *ctx = SSL_CTX_new(method);

	if (!ctx)
		return NULL;
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	return ctx;
}

int tls_context_create(struct tls_context **ret, struct error *err)
{
	struct tls_context *context;
	X509_VERIFY_PARAM *param;
	int r = tls_init(err);

	if (r < 0)
		return r;
	context = calloc(1, sizeof(*context));
	if (!context)
		return error_set(err, -ENOMEM, "out of memory");
	context->holds = 1;
	context->ctx = new_ctx(TLS_client_method());
	if (!context->ctx || tls_roots_attach(context) < 0) {
		tls_context_release(context);
		return error_set(err, -ENOMEM, "OpenSSL can't make a context");
	}
	SSL_CTX_set_cert_verify_callback(context->ctx, tls_verify_chain, NULL);
	/* A CA file may also hold the server's own certificate, without its issuer. */
	param = SSL_CTX_get0_param(context->ctx);
	X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_TRUSTED_FIRST);
	*ret = context;
	return 0;
}

struct tls_context *tls_context_hold(struct tls_context *context)
{
	context->holds++;
	return context;
}

void tls_context_release(struct tls_context *context)
{
	if (!context || --context->holds)
		return;
	SSL_CTX_free(context->ctx);
	tls_challenge_free(context->challenge);
	for (size_t i = 0; i < TLS_ROOT_SOURCES; i++)
		tls_roots_free(&context->roots[i]);
	tls_tickets_free(context->tickets);
	free(context);
}

/* The server's certificate */

/* No pass phrase: an encrypted key is refused rather than asked for on the terminal. */
static int no_phrase(char *buffer, int size, int writing, void *user)
{
	(void)buffer;
	(void)size;
	(void)writing;
	(void)user;
	return -1;
}

static int load_chain(SSL_CTX *ctx, const char *pem, size_t length, struct error *err)
{
	BIO *bio = BIO_new_mem_buf(pem, (int)length);
	X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, no_phrase, NULL) : NULL;
	int r = 0;

	if (!certificate || SSL_CTX_use_certificate(ctx, certificate) != 1)
		r = error_set(err, -EINVAL, "no certificate in PEM form");
	X509_free(certificate);
	while (r == 0) {
		certificate = PEM_read_bio_X509(bio, NULL, no_phrase, NULL);
		if (!certificate)
			break;
		if (SSL_CTX_add0_chain_cert(ctx, certificate) != 1) {
			X509_free(certificate);
			r = error_set(err, -ENOMEM, "out of memory");
		}
	}
	ERR_clear_error(); /* the end of the text is one */
	BIO_free(bio);
	return r;
}

static int load_key(SSL_CTX *ctx, const char *pem, size_t length, struct error *err)
{
	BIO *bio = BIO_new_mem_buf(pem, (int)length);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_phrase, NULL) : NULL;
	int r = 0;

	if (!key)
		r = error_set(err, -EINVAL,
			      "no private key in PEM form (encrypted keys are not supported)");
	else if (SSL_CTX_use_PrivateKey(ctx, key) != 1 || SSL_CTX_check_private_key(ctx) != 1)
		r = error_set(err, -EINVAL, "the private key does not match the certificate");
	EVP_PKEY_free(key);
	BIO_free(bio);
	ERR_clear_error();
	return r;
}

/* select_protocol() - ALPN, with the server's preference */
static int select_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_length,
			   const unsigned char *in, unsigned int in_length, void *unused)
{
	const struct tls *t = SSL_get_app_data(ssl);
	unsigned char *chosen;

	(void)unused;
	if (!t->protocols)
		return SSL_TLSEXT_ERR_NOACK;
	if (SSL_select_next_proto(&chosen, out_length, (const unsigned char *)t->protocols,
				  (unsigned int)strlen(t->protocols), in,
				  in_length) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

/* on_hello() - Before OpenSSL looks at the extensions */
static int on_hello(SSL *ssl, int *alert, void *unused)
{
	struct tls *t = SSL_get_app_data(ssl);
	int r = tls_challenge_take(t->context, ssl);

	(void)unused;
	if (r > 0)
		t->protocols = TLS_CHALLENGE_PROTOCOL;
	*alert = SSL_AD_NO_APPLICATION_PROTOCOL;
	return r < 0 ? SSL_CLIENT_HELLO_ERROR : SSL_CLIENT_HELLO_SUCCESS;
}

static int make_context(const char *certificate, size_t certificate_length, const char *key,
			size_t key_length, SSL_CTX **ret, struct error *err)
{
	SSL_CTX *ctx;
	int r = tls_init(err);

	if (r < 0)
		return r;
	if (certificate_length > INT_MAX || key_length > INT_MAX)
		return error_set(err, -EINVAL, "certificate or key too long");
	ctx = new_ctx(TLS_server_method());
	if (!ctx)
		return error_set(err, -ENOMEM, "OpenSSL can't make a context");
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_alpn_select_cb(ctx, select_protocol, NULL);
	SSL_CTX_set_client_hello_cb(ctx, on_hello, NULL);
	r = load_chain(ctx, certificate, certificate_length, err);
	if (r == 0)
		r = load_key(ctx, key, key_length, err);
	if (r < 0)
		SSL_CTX_free(ctx);
	else
		*ret = ctx;
	return r;
}

int tls_server_context_set(struct tls_context **context, const char *certificate,
			   size_t certificate_length, const char *key, size_t key_length,
			   struct error *err)
{
	SSL_CTX *ctx = NULL;
	int r = make_context(certificate, certificate_length, key, key_length, &ctx, err);

	if (r < 0)
		return r;
	if (!*context) {
		*context = calloc(1, sizeof(**context));
		if (!*context) {
			SSL_CTX_free(ctx);
			return error_set(err, -ENOMEM, "out of memory");
		}
		(*context)->holds = 1;
	}
	if ((*context)->tickets && tls_tickets_attach(*context, ctx) < 0) {
		SSL_CTX_free(ctx);
		return error_set(err, -ENOMEM, "out of memory");
	}
	/* Open streams hold the old one. */
	SSL_CTX_free((*context)->ctx);
	(*context)->ctx = ctx;
	return 0;
}

/* The stream */

static void protocol_problem(struct error *err, const char *host)
{
	unsigned long code = ERR_peek_last_error();
	int reason = ERR_GET_REASON(code);
	const char *text = ERR_reason_error_string(code);

	if (reason >= SSL_AD_REASON_OFFSET)
		error_set(err, -EPROTO, "%s refused the TLS connection: %s", host,
			  SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET));
	else if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST)
		error_set(err, -EPROTO,
			  "%s does not speak TLS on this port: check the URL's scheme and port",
			  host);
	else if (reason == SSL_R_UNSUPPORTED_PROTOCOL || reason == SSL_R_NO_PROTOCOLS_AVAILABLE)
		error_set(err, -EPROTO, "%s does not support TLS 1.2 or newer", host);
	else if (text)
		error_set(err, -EPROTO, "TLS with %s: %s", host, text);
	else
		error_set(err, -EPROTO, "TLS with %s failed (OpenSSL error 0x%lx)", host, code);
}

/*
 * hello_length() - The length of the records up to the end of a ClientHello; 0: it is not whole
 *
 * Other bytes than a ClientHello are whole. -EMSGSIZE: it is too long
 */
static ssize_t hello_length(const uint8_t *bytes, size_t length)
{
	uint8_t head[MESSAGE_HEAD] = {0};
	size_t have = 0, at = 0, want = sizeof(head);

	while (length - at >= RECORD_HEAD) {
		struct cursor record = cursor_of(bytes + at, length - at);
		uint8_t type = cursor_u8(&record);
		size_t size, here;

		cursor_take(&record, 2); /* the version */
		size = cursor_be16(&record);
		here = size < record.left ? size : record.left;
		if (type != RECORD_HANDSHAKE && type != RECORD_CIPHER)
			return (ssize_t)length;
		if (type == RECORD_HANDSHAKE) {
			for (size_t i = 0; i < here && have + i < sizeof(head); i++)
				head[have + i] = record.at[i];
			have += here;
		}
		if (have >= sizeof(head)) {
			if (head[0] != CLIENT_HELLO)
				return (ssize_t)length;
			want = sizeof(head) +
			       ((size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3]);
			if (want > CLIENT_HELLO_MAX)
				return -EMSGSIZE;
		}
		if (here < size)
			break;
		at += RECORD_HEAD + size;
		if (have >= want)
			return (ssize_t)at;
	}
	return length > CLIENT_HELLO_WIRE ? -EMSGSIZE : 0;
}

/* ended() - What OpenSSL's @result means, as step() says it */
static int ended(struct tls *t, int result, struct error *err)
{
	if (result == SSL_ERROR_ZERO_RETURN)
		return 1;
	if (t->write_error)
		error_set_errno(err, t->write_error, "write to %s", t->verification.host);
	else if (result == SSL_ERROR_WANT_READ)
		return t->held_back ? 0 : -EAGAIN;
	else if (t->verification.problem.code)
		*err = t->verification.problem;
	else
		protocol_problem(err, t->verification.host);
	return err->code;
}

static int tls_seal(struct stream_layer *layer, const void *bytes, size_t length)
{
	_cleanup_(buffer_free) struct buffer records = BUFFER_INIT(LIMIT_STREAM_QUEUE);
	struct tls *t = tls_of(layer);
	size_t written;
	bool whole;

	if (length > PLAIN_SIZE && buffer_reserve(&records, length + OVERHEAD(length)) == 0)
		t->gathers = &records;
	ERR_clear_error();
	whole = SSL_write_ex(t->ssl, bytes, length, &written) == 1 && written == length;
	t->gathers = NULL;
	if (records.length > 0 &&
	    stream_write(layer->below, buffer_head(&records), records.length) < 0)
		whole = false;
	return whole ? 0 : -EPIPE;
}

/*
 * hold_back() - Let OpenSSL have no part of a ClientHello; 0, -EAGAIN, -EMSGSIZE
 *
 * OpenSSL allocates what the head of a ClientHello announces, up to 128 KiB, for strangers. A server
 * of TLS 1.3 may ask for a second ClientHello.
 */
static int hold_back(struct tls *t, struct error *err)
{
	const struct cursor *input = &t->layer.input;
	ssize_t ready = (ssize_t)input->left;

	if (t->server && !t->layer.open && SSL_version(t->ssl) != TLS1_2_VERSION) {
		ready = hello_length(input->at, input->left);
		if (ready < 0)
			return error_set(err, -EMSGSIZE,
					 "%s sent a ClientHello of more than %d bytes",
					 t->verification.host, CLIENT_HELLO_MAX);
		if (ready == 0)
			return -EAGAIN;
	}
	t->held_back = input->left - (size_t)ready;
	return 0;
}

/* tls_step() - Handshake or read once */
static int tls_step(struct stream_layer *layer, struct error *err)
{
	struct tls *t = tls_of(layer);
	uint8_t plain[PLAIN_SIZE];
	size_t length;
	int r = hold_back(t, err);

	if (r < 0)
		return r;
	ERR_clear_error();
	if (!layer->open) {
		r = SSL_do_handshake(t->ssl);
		if (r != 1)
			return ended(t, SSL_get_error(t->ssl, r), err);
		t->held_back = 0;
		if (stream_layer_opened(layer) < 0)
			return ended(t, SSL_ERROR_SSL, err);
	} else {
		r = SSL_read_ex(t->ssl, plain, sizeof(plain), &length);
		if (r != 1)
			return ended(t, SSL_get_error(t->ssl, r), err);
		stream_emit_data(&layer->stream, plain, length);
	}
	return t->write_error ? ended(t, SSL_ERROR_NONE, err) : 0;
}

static void tls_cut(struct stream_layer *layer, struct error *err)
{
	error_set(err, -ECONNABORTED,
		  layer->open ? "%s cut the TLS connection"
			      : "%s closed the connection during the TLS handshake",
		  tls_of(layer)->verification.host);
}

static const struct stream_layer_operations layer_operations = {
	.step = tls_step,
	.seal = tls_seal,
	.cut = tls_cut,
};

static struct tls *tls_of_stream(const struct stream *s)
{
	return container_of(s, struct tls, layer.stream);
}

static int tls_write(struct stream *s, const void *bytes, size_t length)
{
	return stream_layer_write(&tls_of_stream(s)->layer, bytes, length,
				  length + OVERHEAD(length));
}

/* say_goodbye() - Send our close_notify; theirs is not awaited */
static void say_goodbye(struct tls *t)
{
	if (!t->layer.open)
		return;
	ERR_clear_error();
	(void)SSL_shutdown(t->ssl);
}

static void tls_close(struct stream *s)
{
	struct tls *t = tls_of_stream(s);

	if (!s->ended && !s->shut)
		say_goodbye(t);
	stream_layer_close(s);
}

static void tls_end(struct stream *s)
{
	struct tls *t = tls_of_stream(s);

	say_goodbye(t);
	stream_end(t->layer.below);
}

static void tls_release(struct stream *s)
{
	struct tls *t = tls_of_stream(s);

	SSL_free(t->ssl);
	stream_layer_free(&t->layer);
	tls_context_release(t->context);
	free(t);
}

static const struct stream_operations tls_operations = {
	.write = tls_write,
	.pending = stream_layer_pending,
	.pause = stream_layer_pause,
	.resume = stream_layer_resume,
	.end = tls_end,
	.close = tls_close,
	.release = tls_release,
};

/* tls_create() - @below is closed on failure */
static int tls_create(struct tls_context *context, struct stream *below, struct tls **ret,
		      struct error *err)
{
	struct tls *t = calloc(1, sizeof(*t));
	BIO *bio;

	if (!t) {
		stream_close(below);
		return error_set(err, -ENOMEM, "out of memory");
	}
	stream_layer_init(&t->layer, &tls_operations, &layer_operations, below);
	t->context = tls_context_hold(context);
	t->ssl = SSL_new(context->ctx);
	bio = t->ssl ? BIO_new(bio_method) : NULL;
	if (!bio) {
		stream_close(&t->layer.stream);
		return error_set(err, -ENOMEM, "out of memory");
	}
	BIO_set_data(bio, t);
	BIO_set_init(bio, 1);
	SSL_set_app_data(t->ssl, t);
	SSL_set_bio(t->ssl, bio, bio);
	*ret = t;
	return 0;
}

static int tls_setup(struct tls *t, const struct tls_options *options, struct error *err)
{
	struct tls_verification *v = &t->verification;

	v->context = t->context;
	v->insecure = options->insecure;
	if (options->host) {
		if (strlen(options->host) >= sizeof(v->host))
			return error_set(err, -EINVAL, "host name too long");
		strcpy(v->host, options->host);
	}
	if (options->cert_name) {
		if (strlen(options->cert_name) >= sizeof(v->cert_name))
			return error_set(err, -EINVAL, "CertName too long");
		strcpy(v->cert_name, options->cert_name);
	}
	if (options->protocols &&
	    SSL_set_alpn_protos(t->ssl, (const unsigned char *)options->protocols,
				(unsigned int)strlen(options->protocols)) != 0)
		return error_set(err, -ENOMEM, "out of memory");
	SSL_set_connect_state(t->ssl);
	return tls_verify_attach(t->ssl, v, err);
}

int tls_client(struct tls_context *context, const struct tls_options *options, struct stream *below,
	       struct stream **ret, struct error *err)
{
	struct tls *t = NULL;
	int r = tls_create(context, below, &t, err);

	if (r < 0)
		return r;
	r = tls_setup(t, options, err);
	if (r < 0)
		goto refused;
	stream_layer_start(&t->layer);
	/* The first flight is queued below; no answer can have arrived yet. */
	ERR_clear_error();
	r = SSL_do_handshake(t->ssl);
	if (r == 1 || SSL_get_error(t->ssl, r) != SSL_ERROR_WANT_READ) {
		r = error_set(err, t->write_error ? t->write_error : -EPROTO,
			      "TLS with %s can't begin", t->verification.host);
		goto refused;
	}
	*ret = &t->layer.stream;
	return 0;
refused:
	stream_close(&t->layer.stream);
	return r;
}

int tls_server(struct tls_context *context, struct stream *below, struct stream **ret,
	       struct error *err)
{
	struct tls *t = NULL;
	int r = tls_create(context, below, &t, err);

	if (r < 0)
		return r;
	t->server = true;
	strcpy(t->verification.host, "the client");
	SSL_set_accept_state(t->ssl);
	stream_layer_start(&t->layer);
	*ret = &t->layer.stream;
	return 0;
}

const char *tls_server_name(const struct stream *s)
{
	return SSL_get_servername(container_of(s, const struct tls, layer.stream)->ssl,
				  TLSEXT_NAMETYPE_host_name);
}

void tls_server_offer(struct stream *s, const char *protocols)
{
	tls_of_stream(s)->protocols = protocols;
}

bool tls_protocol_is(const struct stream *s, const char *name)
{
	const unsigned char *chosen;
	unsigned int length;

	SSL_get0_alpn_selected(container_of(s, const struct tls, layer.stream)->ssl, &chosen,
			       &length);
	return length == strlen(name) && memcmp(chosen, name, length) == 0;
}
