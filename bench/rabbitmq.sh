# shellcheck shell=bash
# RabbitMQ for bench/remote.sh: Debian's packages, unpacked under tmp/ and not installed, as a server of our own on 127.0.0.1
# whose files stand there, too. bench/remote.sh sources this file, after queue_lib.sh.

rabbit=$queue_work/rabbit
rabbit_packages='rabbitmq-server erlang-base erlang-asn1 erlang-crypto erlang-public-key erlang-mnesia erlang-runtime-tools erlang-ssl
	erlang-eldap erlang-ftp erlang-tftp erlang-inets erlang-snmp erlang-os-mon erlang-parsetools erlang-syntax-tools erlang-tools erlang-xmerl'
rabbit_pid=''

# free_port: one that nobody listens on just now.
free_port() {
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# fetch_rabbit: erlang-base is what runs it; of an installed one the same version is needed, so its own is taken only where none is.
fetch_rabbit() {
	local package
	mkdir -p "$rabbit/root" "$rabbit/home"
	if [ ! -e "$rabbit/unpacked" ]; then
		for package in $rabbit_packages; do
			if [ "$package" = erlang-base ] && command -v erl >/dev/null; then continue; fi
			(cd "$rabbit" && apt-get -q download "$package" && dpkg-deb -x "$package"_*.deb root) >>"$rabbit/apt.log" 2>&1 || {
				missing="$missing rabbitmq"
				return
			}
		done
		touch "$rabbit/unpacked"
	fi
	rabbit_sbin=$(echo "$rabbit"/root/usr/lib/rabbitmq/lib/*/sbin)
	if ! command -v erl >/dev/null || [ ! -f "$node_modules/amqplib/package.json" ]; then
		missing="$missing rabbitmq"
		return
	fi
	versions="$versions, RabbitMQ $(basename "$rabbit"/rabbitmq-server_*.deb | cut -d_ -f2) (Erlang/OTP $(erl -noshell -eval 'io:put_chars(erlang:system_info(otp_release)), halt().')), amqplib $(sed -n 's/^ *"version": "\(.*\)".*/\1/p' "$node_modules/amqplib/package.json" | head -n 1)"
}

start_rabbit() {
	local port tries
	port=$(free_port)
	rabbit_epmd=$(free_port)
	export AMQP_URL=amqp://guest:guest@127.0.0.1:$port
	rm -rf "$rabbit/mnesia"
	echo '[].' >"$rabbit/plugins"
	env HOME="$rabbit/home" ERL_LIBS="$rabbit/root/usr/lib/erlang/lib" ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT="$rabbit_epmd" \
		RABBITMQ_NODENAME=bench@localhost RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT="$port" RABBITMQ_DIST_PORT="$(free_port)" \
		RABBITMQ_MNESIA_BASE="$rabbit/mnesia" RABBITMQ_LOG_BASE="$rabbit/log" RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_CONFIG_FILE="$rabbit/none" \
		RABBITMQ_ENABLED_PLUGINS_FILE="$rabbit/plugins" RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}' \
		"$rabbit_sbin/rabbitmq-server" >"$rabbit/out" 2>&1 &
	rabbit_pid=$!
	for ((tries = 0; tries < 600; tries++)); do
		if ! kill -0 "$rabbit_pid" 2>/dev/null; then break; fi
		if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then return; fi
		sleep 0.2
	done
	tail -n 20 "$rabbit/out" >&2
	return 1
}

stop_rabbit() {
	if [ -z "$rabbit_pid" ]; then return; fi
	kill "$rabbit_pid" 2>/dev/null || true
	wait "$rabbit_pid" 2>/dev/null || true
	ERL_EPMD_PORT=$rabbit_epmd epmd -kill >/dev/null 2>&1 || true
	rabbit_pid=''
}

rabbit_client() {
	NODE_PATH=$node_modules node "$bench/clients/rabbitmq.js" "$@"
}
