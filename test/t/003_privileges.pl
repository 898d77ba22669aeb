# What the catalogs say about rights, after a database has been filled as
# users do: nobody but superusers may change a table of the extension, nothing
# runs with its owner's rights under a search_path of somebody else's, and no
# function that everybody may call can be made to harm the server.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my $node = new_node('privileges');
new_database($node, 'd');
populate($node, 'd');
$node->safe_psql('postgres', 'CREATE ROLE ordinary LOGIN');

sub none
{
	my ($name, $sql) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is_deeply([ rows($node, 'd', $sql) ], [], $name);
	return;
}

# Queries that find nothing prove something only if there is something to find.
is($node->safe_psql('d', q{SELECT count(*) > 10 FROM pg_class WHERE relnamespace = 'actorstore'::regnamespace AND relkind IN ('r', 'p')}), 't',
	'there are tables to look at');
is($node->safe_psql('d', q{SELECT count(*) > 20 FROM pg_proc WHERE pronamespace = 'actorstore'::regnamespace}), 't', 'and functions');

none('no role but superusers may change a table, or a column of one', q{
	SELECT r.rolname, c.oid::regclass, p.privilege FROM pg_roles AS r, pg_class AS c,
		unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS p (privilege)
	WHERE NOT r.rolsuper AND r.rolname !~ '^pg_' AND c.relnamespace = 'actorstore'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
		AND (has_table_privilege(r.oid, c.oid, p.privilege)
			OR p.privilege IN ('INSERT', 'UPDATE', 'REFERENCES') AND has_any_column_privilege(r.oid, c.oid, p.privilege))});
none('PUBLIC has nothing on any table', q{
	SELECT c.oid::regclass, a.privilege_type FROM pg_class AS c, aclexplode(c.relacl) AS a
	WHERE c.relnamespace = 'actorstore'::regnamespace AND c.relkind IN ('r', 'p', 'S', 'm', 'f') AND a.grantee = 0});
none('the only table right given to anybody is SELECT, and it cannot be handed on', q{
	SELECT c.oid::regclass, a.grantee::regrole, a.privilege_type FROM pg_class AS c, aclexplode(c.relacl) AS a
	WHERE c.relnamespace = 'actorstore'::regnamespace AND a.grantee <> c.relowner AND (a.privilege_type <> 'SELECT' OR a.is_grantable)});
none('no default privileges have been left', q{SELECT * FROM pg_default_acl});
none('no role may use a sequence', q{
	SELECT r.rolname, c.oid::regclass FROM pg_roles AS r, pg_class AS c
	WHERE NOT r.rolsuper AND r.rolname !~ '^pg_' AND c.relnamespace = 'actorstore'::regnamespace AND c.relkind = 'S'
		AND has_sequence_privilege(r.oid, c.oid, 'USAGE, UPDATE')});
none('nobody may make anything in the schema', q{
	SELECT rolname FROM pg_roles WHERE NOT rolsuper AND has_schema_privilege(oid, 'actorstore', 'CREATE')});
is($node->safe_psql('d', q{SELECT has_schema_privilege('ordinary', 'actorstore', 'USAGE')}), 't', 'everybody may use it');

none('everything belongs to one superuser', q{
	SELECT pg_describe_object('pg_class'::regclass, c.oid, 0) FROM pg_class AS c JOIN pg_roles AS r ON r.oid = c.relowner
	WHERE c.relnamespace = 'actorstore'::regnamespace AND NOT r.rolsuper
	UNION ALL SELECT p.oid::regprocedure::text FROM pg_proc AS p JOIN pg_roles AS r ON r.oid = p.proowner
	WHERE p.pronamespace = 'actorstore'::regnamespace AND NOT r.rolsuper});
none('SECURITY DEFINER means a pinned search_path', q{
	SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'actorstore'::regnamespace AND prosecdef
		AND NOT EXISTS (SELECT FROM unnest(proconfig) AS s WHERE s LIKE 'search_path=%')});
none('every function has a comment', q{
	SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'actorstore'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL});
is($node->safe_psql('d', q{SELECT obj_description(oid, 'pg_extension') IS NOT NULL FROM pg_extension WHERE extname = 'actorstore'}), 't',
	'the extension has one, too');
none('sections 1 and 2 are for everybody', q{
	SELECT name FROM unnest(ARRAY['insert', 'get', 'get_many', 'get_all', 'list', 'update', 'update_versioned', 'compare_and_swap', 'put', 'patch',
			'delete', 'delete_versioned', 'insert_many', 'put_many', 'type_table', 'create_type', 'alter_type', 'drop_type', 'set_handler', 'grant_type',
			'revoke_type']) AS name
	WHERE NOT EXISTS (SELECT FROM pg_proc WHERE pronamespace = 'actorstore'::regnamespace AND proname = name AND has_function_privilege('ordinary', oid, 'EXECUTE'))});
none('members are what pg_dump must know nothing of; partitions made at run time are none', q{
	SELECT c.oid::regclass FROM pg_class AS c JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
	WHERE c.relispartition AND c.oid <> 'actorstore.undeclared'::regclass});

# What an ordinary role tries.
foreach my $attempt (
	q{INSERT INTO actorstore.actor VALUES ('cart', 'x', '1', 0, now(), now())},
	q{INSERT INTO actorstore.undeclared VALUES ('loose', 'x', '1', 0, now(), now())},
	q{UPDATE actorstore.actor_cart SET value = '1'},
	q{DELETE FROM actorstore.actor},
	q{TRUNCATE actorstore.undeclared},
	q{SELECT * FROM actorstore.actor},
	q{SELECT * FROM actorstore.undeclared},
	q{SELECT * FROM actorstore.actor_cart},
	q{COPY actorstore.actor TO STDOUT},
	q{INSERT INTO actorstore.handler SELECT * FROM actorstore.handler},
	q{UPDATE actorstore.type SET owner = 'ordinary'::regrole},
	q{DELETE FROM actorstore.type_grant},
	q{INSERT INTO actorstore.type_grant SELECT actor_type, 'ordinary'::regrole, 'read' FROM actorstore.type},
	q{ALTER TABLE actorstore.actor DETACH PARTITION actorstore.actor_cart},
	q{ALTER TABLE actorstore.actor_cart OWNER TO ordinary},
	q{CREATE TABLE actorstore.actor_mine PARTITION OF actorstore.actor FOR VALUES IN ('mine')},
	q{CREATE FUNCTION actorstore.get(text, text, text) RETURNS int LANGUAGE sql RETURN 1},
	q{CREATE INDEX ON actorstore.actor_cart ((value))},
	q{BEGIN; LOCK TABLE actorstore.actor_cart IN ACCESS EXCLUSIVE MODE},
	q{DROP EXTENSION actorstore},
	q{ALTER EXTENSION actorstore UPDATE},
	q{SET actorstore.max_value_size = '1GB'},
	q{SELECT actorstore.get('cart', 'id 1')},
	q{SELECT actorstore.insert('of mine', 'x', '1')})
{
	my $expected = $attempt =~ /of mine/ ? '42704' : '42501';
	is(sqlstate($node, 'd', "SET ROLE ordinary; $attempt"), $expected, $attempt);
}

# Whatever functions there are: called with NULLs and with nonsense by an
# ordinary role they end in an answer or an error, and the server lives on.
my $contents = contents($node, 'd');
my $started = $node->safe_psql('d', 'SELECT pg_postmaster_start_time()');
my @calls = rows($node, 'd', q{
	SELECT format('%s.%I(%s)', pronamespace::regnamespace, proname,
			(SELECT string_agg(CASE kind WHEN 0 THEN 'NULL' WHEN 1 THEN CASE
					WHEN t = 'jsonb'::regtype THEN quote_literal('{"a": [1, null]}') WHEN t::text LIKE '%[]' THEN quote_literal('{}')
					WHEN t IN ('text'::regtype, 'name'::regtype) THEN quote_literal('nonsense')
					WHEN t IN ('int4'::regtype, 'int8'::regtype, 'int2'::regtype) THEN '-1' WHEN t = 'bool'::regtype THEN 'true' WHEN t = 'interval'::regtype THEN quote_literal('1 s')
					WHEN t = 'regprocedure'::regtype THEN quote_literal('now()') WHEN t = 'regrole'::regtype THEN quote_literal('ordinary') ELSE 'NULL' END
				END || '::' || t::text, ', ' ORDER BY place)
			FROM unnest(proargtypes::regtype[]) WITH ORDINALITY AS a (t, place)))
	FROM pg_proc, generate_series(0, 1) AS kind
	WHERE pronamespace = 'actorstore'::regnamespace AND prokind = 'f' AND has_function_privilege('ordinary', oid, 'EXECUTE')
	ORDER BY 1});
cmp_ok(scalar(@calls), '>', 40, 'functions to be called');
foreach my $call (@calls)
{
	my $state = sqlstate($node, 'd', "SET ROLE ordinary; SET statement_timeout = '10s'; SELECT $call");
	like($state, qr/^(?!XX|57|08)[0-9A-Z]{5}$/, "$call: $state");
}
is($node->safe_psql('d', 'SELECT pg_postmaster_start_time()'), $started, 'the server has lived on');
is_deeply(contents($node, 'd'), $contents, 'and nothing has changed');

# Where ALTER DEFAULT PRIVILEGES gives all that is made to others, they have no more of the extension than elsewhere, nor of types'
# tables: who could write these would bypass the rights, or run his own code as somebody else.
sub make_type { my ($database) = @_; $node->safe_psql($database, q{SELECT actorstore.insert('doc', 'a', '1'), actorstore.create_type('doc'), actorstore.create_type('new')}); return; }
sub rights
{
	my ($database) = @_;
	return [ rows($node, $database, q{
		SELECT o.name, grantee::regrole, privilege_type, is_grantable
		FROM (SELECT oid::regclass::text, relowner, coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)) FROM pg_class WHERE relnamespace = 'actorstore'::regnamespace
			UNION ALL SELECT oid::regprocedure::text, proowner, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc WHERE pronamespace = 'actorstore'::regnamespace
			UNION ALL SELECT nspname, nspowner, coalesce(nspacl, acldefault('n', nspowner)) FROM pg_namespace WHERE nspname = 'actorstore'
			UNION ALL SELECT attrelid::regclass || '.' || attname, 0, attacl FROM pg_attribute WHERE attacl IS NOT NULL AND attrelid >= 16384) AS o (name, owner, acl), aclexplode(acl)
		ORDER BY 1, 2, 3}) ];
}
new_database($node, 'plain');
make_type('plain');
$node->safe_psql('postgres', q{CREATE DATABASE generous TEMPLATE template0 ENCODING 'UTF8'});
$node->safe_psql('generous', join ';', map { ("ALTER DEFAULT PRIVILEGES GRANT ALL ON $_ TO PUBLIC", "ALTER DEFAULT PRIVILEGES GRANT ALL ON $_ TO ordinary WITH GRANT OPTION") } 'TABLES', 'SEQUENCES', 'FUNCTIONS', 'SCHEMAS');
$node->safe_psql('generous', 'CREATE EXTENSION actorstore');
make_type('generous');
cmp_ok(scalar(@{ rights('plain') }), '>', 400, 'rights to compare');
is_deeply(rights('generous'), rights('plain'), 'default privileges give nobody more');
foreach my $attempt (q{INSERT INTO actorstore.handler VALUES ('doc', '*', 'f(jsonb,jsonb)', '')}, q{UPDATE actorstore.actor_doc SET value = '2'}, q{SELECT * FROM actorstore.actor_new}, q{SELECT actorstore.pause('doc')})
{
	is(sqlstate($node, 'generous', "SET ROLE ordinary; $attempt"), '42501', "$attempt, in spite of them");
}

# A dump that is restored where default privileges are generous brings its tables like anybody's.
my $rights = q{SELECT ok, detail FROM actorstore.doctor() WHERE item = 'rights on tables'};
is($node->safe_psql('plain', $rights), '', 'doctor() has nothing to say of rights');
$node->command_ok([ 'pg_dump', '-h', $node->host, '-p', $node->port, '-U', 'postgres', '-f', $node->basedir . '/plain.sql', 'plain' ], 'a dump');
$node->safe_psql('postgres', q{CREATE DATABASE restored TEMPLATE template0 ENCODING 'UTF8'});
$node->safe_psql('restored', 'ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC, ordinary');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-h', $node->host, '-p', $node->port, '-U', 'postgres', '-f', $node->basedir . '/plain.sql', 'restored' ], 'is restored');
is($node->safe_psql('restored', $rights), 'f|2 tables of the extension can be written by PUBLIC, ordinary', 'where doctor() has');
$node->safe_psql('restored', 'REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA actorstore FROM PUBLIC, ordinary');
is($node->safe_psql('restored', $rights), '', 'until it is taken back');

# Nor less: who finds that nobody may call the functions would grant all of them, and there are such as nobody should call.
$node->safe_psql('postgres', q{CREATE DATABASE mean TEMPLATE template0 ENCODING 'UTF8'});
$node->safe_psql('mean', 'ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM PUBLIC; CREATE EXTENSION actorstore');
make_type('mean');
is_deeply(rights('mean'), rights('plain'), 'nor less');
is($node->safe_psql('mean', q{SET ROLE ordinary; SELECT count(*), actorstore.get('unknown', 'nobody') IS NULL FROM actorstore.mailbox}), '0|t', 'which is what the views need');

$node->stop;
done_testing();
