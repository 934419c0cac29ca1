/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/tls_roots.c - the trusted roots, parsed when they are asked for
 *
 * Theory of operation
 *   A connection needs one of some 140 roots. Parsed roots cost three times the memory of their
 *   DER, and time at the start. So the DER is kept, with the hash that OpenSSL gives a subject; a
 *   lookup method of our own parses the roots that a chain names and leaves them in the store,
 *   where the verifier finds them later.
 */
#include "base/limits.h"
#include "transport/tls_internal.h"

#include <errno.h>
#include <openssl/asn1.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

static X509 *parse_those(struct tls_roots *roots, X509_STORE *store, const X509_NAME *name,
			 uint32_t hash)
{
	X509 *first = NULL;

	for (size_t i = 0; i < roots->count; i++) {
		struct tls_root *root = &roots->list[i];
		const uint8_t *der = buffer_head(&roots->der) + root->offset;
		X509 *certificate;

		if (root->subject_hash != hash || root->parsed)
			continue;
		certificate = d2i_X509(NULL, &der, root->length);
		if (!certificate)
			continue; /* out of memory: as if it were missing */
		if (X509_STORE_add_cert(store, certificate) == 1) {
			root->parsed = true;
			if (!first && X509_NAME_cmp(X509_get_subject_name(certificate), name) == 0)
				first = certificate;
		}
		X509_free(certificate); /* the store has its own reference */
	}
	return first;
}

/* parse_matching() - Move the roots named @name into the store; the first of them, borrowed */
static X509 *parse_matching(struct tls_context *context, X509_STORE *store, const X509_NAME *name)
{
	uint32_t hash = (uint32_t)X509_NAME_hash_ex(name, NULL, NULL, NULL);
	X509 *first = NULL, *found;

	for (size_t i = 0; i < TLS_ROOT_SOURCES; i++) {
		found = parse_those(&context->roots[i], store, name, hash);
		first = first ?: found;
	}
	return first;
}

static int get_by_subject(X509_LOOKUP *lookup, X509_LOOKUP_TYPE type, const X509_NAME *name,
			  X509_OBJECT *ret)
{
	X509 *found;

	if (type != X509_LU_X509)
		return 0;
	found = parse_matching(X509_LOOKUP_get_method_data(lookup), X509_LOOKUP_get_store(lookup),
			       name);
	if (!found || !X509_OBJECT_set1_X509(ret, found))
		return 0;
	/* The caller takes a reference of its own and never drops this one. */
	X509_free(found);
	return 1;
}

int tls_roots_attach(struct tls_context *context)
{
	static X509_LOOKUP_METHOD *method;
	X509_LOOKUP *lookup;
	X509_STORE *store;

	if (!method) {
		method = X509_LOOKUP_meth_new("pillion roots");
		if (!method || !X509_LOOKUP_meth_set_get_by_subject(method, get_by_subject))
			return -ENOMEM;
	}
	store = X509_STORE_new();
	lookup = store ? X509_STORE_add_lookup(store, method) : NULL;
	if (!lookup) {
		X509_STORE_free(store);
		return -ENOMEM;
	}
	X509_LOOKUP_set_method_data(lookup, context);
	SSL_CTX_set_cert_store(context->ctx, store); /* takes it, and drops the one before */
	for (size_t i = 0; i < TLS_ROOT_SOURCES; i++)
		for (size_t j = 0; j < context->roots[i].count; j++)
			context->roots[i].list[j].parsed = false;
	return 0;
}

/* element() - The length, with its head, of the DER element at *@at, behind or into which @at moves;
 * 0: it has another @tag */
static size_t element(const uint8_t **at, const uint8_t *end, int tag, bool into)
{
	const uint8_t *content = *at;
	int found, class, r;
	size_t whole;
	long length;

	r = ASN1_get_object(&content, &length, &found, &class, end - *at);
	if (r & 0x81 || found != tag) /* an error, or of indefinite length, which DER is not */
		return 0;
	whole = (size_t)(content - *at) + (size_t)length;
	*at = into ? content : content + length;
	return whole;
}

/*
 * find_subject() - The subject's Name in a certificate (RFC 5280 §4.1)
 * @ret: its DER
 *
 * d2i_X509() would do, and decode the public key too, which takes ten times as long.
 * Return: the length of the certificate; 0 when this is none
 */
static size_t find_subject(const uint8_t *der, size_t length, const uint8_t **ret,
			   size_t *ret_length)
{
	const uint8_t *at = der, *end = der + length;
	size_t size = element(&at, end, V_ASN1_SEQUENCE, true);

	if (!size || !element(&at, end, V_ASN1_SEQUENCE, true))
		return 0;
	(void)element(&at, end, 0, false); /* the version, [0], which may be missing */
	if (!element(&at, end, V_ASN1_INTEGER, false) ||  /* serial number */
	    !element(&at, end, V_ASN1_SEQUENCE, false) || /* signature algorithm */
	    !element(&at, end, V_ASN1_SEQUENCE, false) || /* issuer */
	    !element(&at, end, V_ASN1_SEQUENCE, false))   /* validity */
		return 0;
	*ret = at;
	*ret_length = element(&at, end, V_ASN1_SEQUENCE, false);
	return *ret_length ? size : 0;
}

/* add_root() - Keep one certificate; 1, 0 when @der is none, -ENOMEM, -EMSGSIZE */
static int add_root(struct tls_roots *roots, const uint8_t *der, size_t length)
{
	const uint8_t *subject = NULL;
	size_t subject_length, size = find_subject(der, length, &subject, &subject_length);
	struct tls_root *list;
	X509_NAME *name;
	int r;

	name = size ? d2i_X509_NAME(NULL, &subject, (long)subject_length) : NULL;
	if (!name)
		return 0;
	list = reallocarray(roots->list, roots->count + 1, sizeof(*list));
	if (!list) {
		r = -ENOMEM;
		goto freed;
	}
	roots->list = list;
	list += roots->count;
	*list = (struct tls_root){
		.subject_hash = (uint32_t)X509_NAME_hash_ex(name, NULL, NULL, NULL),
		.offset = (uint32_t)roots->der.length,
		.length = (uint32_t)size, /* without what a TRUSTED CERTIFICATE has behind it */
	};
	r = buffer_append(&roots->der, der, list->length);
	if (r == 0) {
		roots->count++;
		r = 1;
	}
freed:
	X509_NAME_free(name);
	return r;
}

void tls_roots_free(struct tls_roots *roots)
{
	buffer_free(&roots->der);
	free(roots->list);
	*roots = (struct tls_roots){0};
}

static int read_roots(struct tls_roots *roots, const char *pem, size_t length, const char *name,
		      struct error *err)
{
	BIO *text = BIO_new_mem_buf(pem, (int)(length > INT32_MAX ? INT32_MAX : length));
	int r = 0;

	if (!text)
		return error_set(err, -ENOMEM, "out of memory");
	while (r >= 0) {
		char *kind = NULL, *header = NULL;
		uint8_t *der = NULL;
		long size;

		ERR_clear_error();
		if (PEM_read_bio(text, &kind, &header, &der, &size) != 1) {
			if (BIO_eof(text) ||
			    ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE)
				break;
			continue; /* a damaged block; reading goes on behind it */
		}
		if (strcmp(kind, PEM_STRING_X509) == 0 || strcmp(kind, PEM_STRING_X509_OLD) == 0 ||
		    strcmp(kind, PEM_STRING_X509_TRUSTED) == 0)
			r = add_root(roots, der, (size_t)size);
		OPENSSL_free(kind);
		OPENSSL_free(header);
		OPENSSL_free(der);
	}
	ERR_clear_error();
	BIO_free(text);
	if (r < 0)
		return error_set_errno(err, r, "CA file %s", name);
	if (roots->count == 0)
		return error_set(err, -EINVAL, "CA file %s holds no certificate in PEM form", name);
	return 0;
}

int tls_context_set_roots(struct tls_context *context, unsigned int source, const char *pem,
			  size_t length, const char *name, struct error *err)
{
	struct tls_roots roots = {.der = BUFFER_INIT(LIMIT_CA_BUNDLE)};
	int r = pem ? read_roots(&roots, pem, length, name, err) : 0;

	/* The store may hold roots that are gone from the text: begin with an empty one. */
	if (r == 0 && tls_roots_attach(context) < 0)
		r = error_set(err, -ENOMEM, "out of memory");
	if (r < 0) {
		tls_roots_free(&roots);
		return r;
	}
	tls_roots_free(&context->roots[source]);
	context->roots[source] = roots;
	return (int)roots.count;
}

size_t tls_context_roots(const struct tls_context *context)
{
	size_t count = 0;

	for (size_t i = 0; i < TLS_ROOT_SOURCES; i++)
		count += context->roots[i].count;
	return count;
}
