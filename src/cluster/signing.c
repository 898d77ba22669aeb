/*-------------------------------------------------------------------------
 *
 * signing.c
 *	  See signing.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/signing.h"

#include <sys/stat.h>

#include "common/cryptohash.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "compat.h"
#include "lib/stringinfo.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#define MIN_KEY			32		/* bytes */
#define MAX_KEY			64
#define MAX_KEYS		2
#define KEY_NAME		8

/* longer files hold something else */
#define MAX_FILE		4096

/* Where it stands in the head */
#define AT_VERSION		4
#define AT_KEY			8
#define AT_HMAC			16

typedef struct Key
{
	char		name[KEY_NAME];
	uint8		bytes[MAX_KEY];
	int			length;
} Key;

typedef enum Signing
{
	SIGNING_OFF,
	SIGNING_ON,
	SIGNING_REQUIRED
} Signing;

static const struct config_enum_entry signing_options[] = {
	{"off", SIGNING_OFF, false},
	{"on", SIGNING_ON, false},
	{"required", SIGNING_REQUIRED, false},
	{NULL, 0, false}
};

static int	message_signing = SIGNING_OFF;
static char *message_key_file = NULL;

static Key	keys[MAX_KEYS];
static int	nkeys = 0;
static struct stat read_as;		/* the file, when they were read */

/* ---- Keys ---- */

as_noreturn static void
bad_file(const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONFIG_FILE_ERROR),
			 errmsg("the keys for messages between nodes cannot be read"),
			 errdetail_internal("\"%s\": %s", message_key_file, why)));
}

static void
name_key(Key *key)
{
	pg_cryptohash_ctx *context = pg_cryptohash_create(PG_SHA256);
	uint8		digest[PG_SHA256_DIGEST_LENGTH];

	if (context == NULL || pg_cryptohash_init(context) < 0 ||
		pg_cryptohash_update(context, key->bytes, key->length) < 0 ||
		pg_cryptohash_final(context, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not name a key");
	pg_cryptohash_free(context);
	memcpy(key->name, digest, KEY_NAME);
}

static int
digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 :
		c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void
read_key(Key *key, const char *line, size_t length)
{
	if (length % 2 != 0 || length < 2 * MIN_KEY || length > 2 * MAX_KEY)
		bad_file("A key is 32 to 64 bytes in hexadecimal digits, on a line of its own.");
	for (size_t i = 0; i < length; i += 2)
	{
		int			high = digit(line[i]);
		int			low = digit(line[i + 1]);

		if (high < 0 || low < 0)
			bad_file("A key has a character that is no hexadecimal digit.");
		key->bytes[i / 2] = (uint8) (high << 4 | low);
	}
	key->length = (int) length / 2;
	name_key(key);
}

static void
read_lines(char *line)
{
	Key			found[MAX_KEYS];
	int			n = 0;

	while (*line != '\0')
	{
		size_t		length = strcspn(line, "\n");
		char	   *next = line + length + (line[length] == '\n');

		while (length > 0 && strchr(" \t\r", line[length - 1]) != NULL)
			length--;
		if (length > 0 && line[0] != '#')
		{
			if (n == MAX_KEYS)
				bad_file("There are more than two keys in it.");
			read_key(&found[n++], line, length);
		}
		line = next;
	}
	if (n == 0)
		bad_file("There is no key in it.");
	memcpy(keys, found, sizeof(Key) * n);
	nkeys = n;
}

static bool
is_same_file(const struct stat *now)
{
	return nkeys > 0 && now->st_ino == read_as.st_ino && now->st_dev == read_as.st_dev &&
		now->st_size == read_as.st_size && now->st_mode == read_as.st_mode &&
		memcmp(&now->st_mtim, &read_as.st_mtim, sizeof(now->st_mtim)) == 0 &&
		memcmp(&now->st_ctim, &read_as.st_ctim, sizeof(now->st_ctim)) == 0;
}

/* False if no file is set. */
static bool
have_keys(void)
{
	static char *read_from = NULL;
	char		content[MAX_FILE + 1];
	struct stat now;
	FILE	   *file;
	size_t		length;

	if (message_key_file == NULL || message_key_file[0] == '\0')
		return false;
	if (stat(message_key_file, &now) != 0)
		bad_file(strerror(errno));
	if (read_from != NULL && strcmp(read_from, message_key_file) == 0 && is_same_file(&now))
		return true;
	nkeys = 0;
	if (!S_ISREG(now.st_mode) || (now.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		bad_file("It must be a plain file that only its owner may read (0600).");
	file = AllocateFile(message_key_file, "r");
	if (file == NULL)
		bad_file(strerror(errno));
	length = fread(content, 1, sizeof(content), file);
	FreeFile(file);
	if (length > MAX_FILE)
		bad_file("It is too long.");
	content[length] = '\0';
	read_lines(content);
	explicit_bzero(content, sizeof(content));
	if (read_from != NULL)
		free(read_from);
	read_from = strdup(message_key_file);
	read_as = now;
	return true;
}

/* ---- Signatures ---- */

static void
put_number(uint8 *at, int64 value)
{
	for (int i = 0; i < 8; i++)
		at[i] = (uint8) ((uint64) value >> (8 * i));
}

static void
make_hmac(const Key *key, const AsSigned *what, const char *head,
		  const char *envelope, Size length, uint8 *hmac)
{
	pg_hmac_ctx *context = pg_hmac_create(PG_SHA256);
	uint8		bound[2 * UUID_LEN + 3 * 8];

	memcpy(bound, what->receiver.data, UUID_LEN);
	memcpy(bound + UUID_LEN, what->sender.data, UUID_LEN);
	put_number(bound + 2 * UUID_LEN, what->incarnation);
	put_number(bound + 2 * UUID_LEN + 8, what->batch);
	put_number(bound + 2 * UUID_LEN + 16, what->epoch);
	if (context == NULL || pg_hmac_init(context, key->bytes, key->length) < 0 ||
		pg_hmac_update(context, (const uint8 *) head, AT_HMAC) < 0 ||
		pg_hmac_update(context, bound, sizeof(bound)) < 0 ||
		pg_hmac_update(context, (const uint8 *) envelope, length) < 0 ||
		pg_hmac_final(context, hmac, PG_SHA256_DIGEST_LENGTH) < 0)
		elog(ERROR, "could not sign a batch of messages");
	pg_hmac_free(context);
}

const bytea *
as_signing_sign(const AsSigned *what, const bytea *envelope)
{
	Size		length = VARSIZE_ANY_EXHDR(envelope);
	bytea	   *all;
	char	   *head;

	if (message_signing == SIGNING_OFF)
		return envelope;
	if (!have_keys())
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("there is no key to sign messages with"),
				 errhint("Set actorstore.message_key_file.")));
	all = palloc(VARHDRSZ + AS_SIGNED_HEAD + length);
	SET_VARSIZE(all, VARHDRSZ + AS_SIGNED_HEAD + length);
	head = VARDATA(all);
	memset(head, 0, AS_SIGNED_HEAD);
	memcpy(head, "ASME", 4);
	head[AT_VERSION] = AS_SIGNED_VERSION;
	memcpy(head + AT_KEY, keys[0].name, KEY_NAME);
	memcpy(head + AS_SIGNED_HEAD, VARDATA_ANY(envelope), length);
	make_hmac(&keys[0], what, head, head + AS_SIGNED_HEAD, length, (uint8 *) head + AT_HMAC);
	return all;
}

/* In a time that does not depend on where they differ. */
static bool
is_equal(const uint8 *a, const uint8 *b)
{
	uint8		difference = 0;

	for (int i = 0; i < PG_SHA256_DIGEST_LENGTH; i++)
		difference |= a[i] ^ b[i];
	return difference == 0;
}

const char *
as_signing_check(const AsSigned *what, const char **bytes, Size *length)
{
	const char *head = *bytes;
	uint8		hmac[PG_SHA256_DIGEST_LENGTH];
	const Key  *key = NULL;

	if (*length <= AT_VERSION || memcmp(head, "ASME", 4) != 0 ||
		head[AT_VERSION] != AS_SIGNED_VERSION)
		return message_signing == SIGNING_REQUIRED ? "It is not signed." : NULL;
	if (*length < AS_SIGNED_HEAD)
		return "Its signature is cut short.";
	if (!have_keys())
		return "It is signed, and there is no key here (actorstore.message_key_file).";
	for (int i = 0; i < nkeys; i++)
	{
		if (memcmp(keys[i].name, head + AT_KEY, KEY_NAME) == 0)
			key = &keys[i];
	}
	if (key == NULL)
		return "It is signed with a key that is not known here.";
	*bytes += AS_SIGNED_HEAD;
	*length -= AS_SIGNED_HEAD;
	make_hmac(key, what, head, *bytes, *length, hmac);
	return is_equal(hmac, (const uint8 *) head + AT_HMAC) ? NULL : "Its signature is wrong.";
}

void
as_signing_init(void)
{
	DefineCustomEnumVariable("actorstore.message_signing",
							 "Are messages to other nodes signed, and must those from them be?",
							 "Signatures are looked at in any case.",
							 &message_signing,
							 SIGNING_OFF, signing_options,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("actorstore.message_key_file",
							   "The file with the keys that messages between nodes are signed with.",
							   "One or two, one a line, in hexadecimal digits; the first one signs.",
							   &message_key_file,
							   "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
}
