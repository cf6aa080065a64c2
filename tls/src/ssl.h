
// What librdkafka takes for granted of OpenSSL's <openssl/ssl.h>, and AWS-LC's does not give.
#ifndef EIGENFLOW_TLS_SSL_H
#define EIGENFLOW_TLS_SSL_H

// HMAC is declared by it.
#include <openssl/hmac.h>

// A host that is an address is looked for among the certificate's addresses, and not among its names.
static inline int SSL_set1_host_or_address(SSL *ssl, const char *host) {
  return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) ||
         SSL_set1_host(ssl, host);
}
#define SSL_set1_host SSL_set1_host_or_address

// OpenSSL's own default is no older protocol than this.
static inline SSL_CTX *SSL_CTX_new_of_today(const SSL_METHOD *method) {
  SSL_CTX *ctx = SSL_CTX_new(method);
  if (ctx != NULL && !SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION)) {
    SSL_CTX_free(ctx);
    return NULL;
  }
  return ctx;
}
#define SSL_CTX_new SSL_CTX_new_of_today

#endif
