# Moments that are too short to be met, by test/stray, which is built into the
# library for tests (make fault-server).  A request whose home has become another database's: the
# other one's workers return what is asked, and drop and count what is told.
# An actor that has got two slots: its messages keep their order.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my $node = new_node('stray', faults => 1, settings => 'actorstore.workers = 2');
foreach my $database ('mine', 'other')
{
	new_database_with_actors($node, $database);
	$node->safe_psql($database, q{SELECT actorstore.create_type('t'), actorstore.set_handler('t', '*', 'collect(jsonb, jsonb)')});
}
$node->safe_psql('mine', q{
	CREATE FUNCTION stray_home(oid) RETURNS int LANGUAGE C STRICT AS 'actorstore', 'stray_home';
	CREATE FUNCTION stray_request(home int, actor_type text, actor_id text, message text, asks boolean) RETURNS text LANGUAGE C STRICT AS 'actorstore', 'stray_request'});
my $home = q{(SELECT stray_home(oid) FROM pg_database WHERE datname = '%s')};
my $other = sprintf $home, 'other';

# Both have a home and workers there.
is($node->safe_psql($_, q{SELECT actorstore.ask('t', 'first', 'm', '0', timeout => '3 min')}), '[0]', "$_: workers are there") foreach 'mine', 'other';
is($node->safe_psql('mine', "SELECT $other <> " . sprintf($home, 'mine')), 't', 'two homes');

sub stray { my ($home, $id, $asks) = @_; return $node->safe_psql('mine', "SET statement_timeout = '" . patience() . "s'; SELECT stray_request($home, 't', '$id', 'm', $asks)"); }

is(stray(sprintf($home, 'mine'), 'home', 'true'), 'answered', 'at home it is answered');
is(stray($other, "a$_", 'true'), 'returned', "asked elsewhere it is returned ($_)") foreach 1 .. 3;
stray($other, 't', 'false');
ok(comes_true($node, 'mine', '(SELECT used_cells = 0 AND lost = 1 FROM actorstore.stat_requests)'), 'told elsewhere it is lost, and counted');

# It is the actor of the other database, of the same name, that is asked beside it.
my @session = map { ActorstoreTest::Session->new($node, $_) } 'mine', 'other';
$_->query("SET statement_timeout = '" . patience() . "s'") foreach @session;
$session[0]->start(qq{SELECT count(*), min(stray_request($other, 't', 'first', 'm', true)), max(stray_request($other, 't', 'first', 'm', true)) FROM generate_series(1, 300)});
$session[1]->start(q{SELECT max(jsonb_array_length(actorstore.ask('t', 'first', 'm', to_jsonb(i), timeout => '3 min'))) FROM generate_series(1, 300) AS i});
is($session[0]->finish, '300|returned|returned', 'among requests of the other database');
is($session[1]->finish, '301', 'which are all answered');
$_->quit foreach @session;
is($node->safe_psql('mine', q{SELECT actor_id, value FROM actorstore.actor ORDER BY 1}), "first|[0]\nhome|[1]", 'mine: nothing else has been handled');
is($node->safe_psql('other', q{SELECT actor_id, jsonb_array_length(value) FROM actorstore.actor ORDER BY 1}), 'first|301', 'other: nothing of mine');
ok(comes_true($node, 'mine', '(SELECT used_cells = 0 AND lost = 1 FROM actorstore.stat_requests)'), 'all cells are back');

# ---- Two slots of an actor ----

# Messages that nobody has been told of: those of an actor that is paused, made those of another one
$node->safe_psql('mine', q{
	CREATE FUNCTION stray_key(actor_type text, actor_id text) RETURNS bigint LANGUAGE C STRICT AS 'actorstore', 'stray_key';
	CREATE FUNCTION stray_hints(home int, actor_type text, actor_id text, rival bigint, own bigint) RETURNS void LANGUAGE C STRICT AS 'actorstore', 'stray_hints';
	SELECT actorstore.pause('t', 'one'), actorstore.send_many('t', ARRAY['one', 'one', 'one', 'one'], 'm', ARRAY['1', '2', '3', '4']::jsonb[]);
	CREATE TABLE mail AS SELECT * FROM actorstore.message;
	SELECT count(actorstore.cancel(message_id)) FROM mail;
	UPDATE mail SET actor_id = 'two', key_hash = stray_key('t', 'two');
	INSERT INTO actorstore.message SELECT * FROM mail});
$node->safe_psql('mine', sprintf(q{SELECT stray_hints(%s, 't', 'two', min(position), min(position) + 1) FROM mail}, sprintf $home, 'mine'));
ok(comes_true($node, 'mine', q{(SELECT count(*) < 4 FROM actorstore.message)}), 'two slots: a turn');
is($node->safe_psql('mine', q{SELECT value FROM actorstore.get('t', 'two')}), '[1, 2, 3, 4]', 'two slots: no message overtakes an earlier one');

$node->stop;
done_testing();
