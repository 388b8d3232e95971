# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_echod_global_optspecs
    string join \n c/config= l/listen= check print-config inetd service= probe= d/daemonize announce v/verbose q/quiet log-level= log-format= h/help V/version
end

function __fish_echod_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_echod_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_echod_using_subcommand
    set -l cmd (__fish_echod_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c echod -n "__fish_echod_needs_command" -s c -l config -d 'Read the listeners from a TOML file' -r -F
complete -c echod -n "__fish_echod_needs_command" -s l -l listen -d 'Serve a listener written as a URL, beside those of the file; may be repeated' -r -f -a "tcp://\t''
udp://\t''
unix:\t''
unix-seqpacket:\t''
unix-datagram:\t''"
complete -c echod -n "__fish_echod_needs_command" -l service -d 'Service for that client; without it, echo' -r -f -a "echo\t''
upper\t''
discard\t''
chargen\t''
qotd\t''
daytime\t''
time\t''
whoami\t''"
complete -c echod -n "__fish_echod_needs_command" -l probe -d 'Send a message to a listener, and exit: with 0 if it has come back within 2 seconds, else with 69' -r -f -a "tcp://\t''
udp://\t''
unix:\t''
unix-seqpacket:\t''
unix-datagram:\t''"
complete -c echod -n "__fish_echod_needs_command" -l log-level -d 'Log up to this level, whatever the file and ECHOD_LOG say' -r -f -a "off\t''
error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c echod -n "__fish_echod_needs_command" -l log-format -d 'Write log lines for people or for programs' -r -f -a "text\t''
json\t''"
complete -c echod -n "__fish_echod_needs_command" -l check -d 'Check everything, print what would run, and exit'
complete -c echod -n "__fish_echod_needs_command" -l print-config -d 'Print the configuration with every value that is in effect, as TOML, and exit'
complete -c echod -n "__fish_echod_needs_command" -l inetd -d 'Serve the client on standard input, and exit: for inetd, a socket unit with Accept=yes, or a pair of pipes'
complete -c echod -n "__fish_echod_needs_command" -s d -l daemonize -d 'Leave the terminal: exit once all are served, with the daemon in the background, or with what prevented that'
complete -c echod -n "__fish_echod_needs_command" -l announce -d 'Print a line of JSON for each socket on standard output, then close it, once all are served'
complete -c echod -n "__fish_echod_needs_command" -s v -l verbose -d 'Log one level more; may be repeated'
complete -c echod -n "__fish_echod_needs_command" -s q -l quiet -d 'Log one level less; may be repeated'
complete -c echod -n "__fish_echod_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c echod -n "__fish_echod_needs_command" -s V -l version -d 'Print version'
complete -c echod -n "__fish_echod_needs_command" -f -a "explain" -d 'Explain decision by decision whether a listener admits a client'
complete -c echod -n "__fish_echod_needs_command" -f -a "faults" -d 'What is asked about faults on purpose'
complete -c echod -n "__fish_echod_needs_command" -f -a "ping" -d 'Send a probe a second to an echo server, this one or any other, and tell how long each took'
complete -c echod -n "__fish_echod_needs_command" -f -a "bench" -d 'Measure how fast servers answer, and how much they can do'
complete -c echod -n "__fish_echod_needs_command" -f -a "selftest" -d 'Hold a live server, this one or any other, to the RFC of its service'
complete -c echod -n "__fish_echod_needs_command" -f -a "status" -d 'Show what a running daemon serves, and what has happened since its start'
complete -c echod -n "__fish_echod_needs_command" -f -a "top" -d 'Show the listeners of a running daemon and their connections, with rates, and renew that every second'
complete -c echod -n "__fish_echod_needs_command" -f -a "metrics" -d 'Print the metrics of a running daemon, or the list of them'
complete -c echod -n "__fish_echod_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c echod -n "__fish_echod_using_subcommand explain" -s c -l config -d 'Read the listeners from a TOML file' -r -F
complete -c echod -n "__fish_echod_using_subcommand explain" -s l -l listen -d 'A listener written as a URL, beside those of the file; may be repeated' -r -f -a "tcp://\t''
udp://\t''
unix:\t''
unix-seqpacket:\t''
unix-datagram:\t''"
complete -c echod -n "__fish_echod_using_subcommand explain" -l listener -d 'The listener, by its name' -r
complete -c echod -n "__fish_echod_using_subcommand explain" -l from -d 'The client: an address, with or without a port; for a unix socket a user of this machine' -r
complete -c echod -n "__fish_echod_using_subcommand explain" -l proxy -d 'The proxy that forwards it (PROXY protocol): an address; for a unix socket a user' -r
complete -c echod -n "__fish_echod_using_subcommand explain" -l address -d 'The endpoint of the daemon, if not that of the configuration: 127.0.0.1:9862, or the path of its socket file' -r
complete -c echod -n "__fish_echod_using_subcommand explain" -l live -d 'Ask the running daemon too: what the client has open, what its rates leave, and whether it is refused now'
complete -c echod -n "__fish_echod_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c echod -n "__fish_echod_using_subcommand faults; and not __fish_seen_subcommand_from preview list help" -s h -l help -d 'Print help'
complete -c echod -n "__fish_echod_using_subcommand faults; and not __fish_seen_subcommand_from preview list help" -f -a "preview" -d 'Print what a plan decides about the first datagrams or connections of a source'
complete -c echod -n "__fish_echod_using_subcommand faults; and not __fish_seen_subcommand_from preview list help" -f -a "list" -d 'Print what each key of a plan does'
complete -c echod -n "__fish_echod_using_subcommand faults; and not __fish_seen_subcommand_from preview list help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c echod -n "__fish_echod_using_subcommand faults; and __fish_seen_subcommand_from preview" -s c -l config -d 'Read the plan and the listeners from a TOML file' -r -F
complete -c echod -n "__fish_echod_using_subcommand faults; and __fish_seen_subcommand_from preview" -s l -l listen -d 'A listener written as a URL, beside those of the file; may be repeated' -r -f -a "tcp://\t''
udp://\t''
unix:\t''
unix-seqpacket:\t''
unix-datagram:\t''"
complete -c echod -n "__fish_echod_using_subcommand faults; and __fish_seen_subcommand_from preview" -l plan -d 'The plan, by its name; it may be left out if there is one only' -r
complete -c echod -n "__fish_echod_using_subcommand faults; and __fish_seen_subcommand_from preview" -l listener -d 'The listener, by its name; it may be left out if one only uses the plan' -r
complete -c echod -n "__fish_echod_using_subcommand faults; and __fish_seen_subcommand_from preview" -l from -d 'Where the datagrams or connections come from: an address with its port, or the name of a unix socket' -r
complete -c echod -n "__fish_echod_using_subcommand faults; and __fish_seen_subcommand_from preview" -l count -d 'How many decisions are printed' -r
complete -c echod -n "__fish_echod_using_subcommand faults; and __fish_seen_subcommand_from preview" -s o -l output -d 'Text for people, or JSON for programs' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c echod -n "__fish_echod_using_subcommand faults; and __fish_seen_subcommand_from preview" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c echod -n "__fish_echod_using_subcommand faults; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c echod -n "__fish_echod_using_subcommand faults; and __fish_seen_subcommand_from help" -f -a "preview" -d 'Print what a plan decides about the first datagrams or connections of a source'
complete -c echod -n "__fish_echod_using_subcommand faults; and __fish_seen_subcommand_from help" -f -a "list" -d 'Print what each key of a plan does'
complete -c echod -n "__fish_echod_using_subcommand faults; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c echod -n "__fish_echod_using_subcommand ping" -s c -l count -d 'Send so many probes, then stop; without it, until Ctrl-C' -r
complete -c echod -n "__fish_echod_using_subcommand ping" -s i -l interval -d 'Time between probes; a number without unit is in seconds' -r
complete -c echod -n "__fish_echod_using_subcommand ping" -s s -l size -d 'Bytes of a probe' -r
complete -c echod -n "__fish_echod_using_subcommand ping" -s W -l timeout -d 'How long a probe may take; an answer that comes later is counted as late' -r
complete -c echod -n "__fish_echod_using_subcommand ping" -s w -l deadline -d 'Stop after this time' -r
complete -c echod -n "__fish_echod_using_subcommand ping" -l flows -d 'Spread datagrams over so many source ports, and report each: shows a dead path of several (ECMP, LAG)' -r
complete -c echod -n "__fish_echod_using_subcommand ping" -l report-every -d 'Print a summary of all so far at this interval' -r
complete -c echod -n "__fish_echod_using_subcommand ping" -l source -d 'Send from this address, and port' -r
complete -c echod -n "__fish_echod_using_subcommand ping" -l device -d 'Send through this interface' -r
complete -c echod -n "__fish_echod_using_subcommand ping" -l dscp -d 'Mark packets: 0 to 63, or a name such as EF, AF41, CS6' -r
complete -c echod -n "__fish_echod_using_subcommand ping" -l ttl -d 'Hops that packets may take' -r
complete -c echod -n "__fish_echod_using_subcommand ping" -l timestamps -d 'Which clock tells when an answer arrived: that of the kernel, where it stamps datagrams, or ours' -r -f -a "kernel\t'The kernel stamps datagrams when they arrive (SO_TIMESTAMPING, socket(7))'
user\t'The client reads the clock when it has received'"
complete -c echod -n "__fish_echod_using_subcommand ping" -s o -l output -d 'How the report is printed' -r -f -a "text\t'For people, and for parsers of ping(8)'
json\t'One object at the end'
jsonl\t'A line for each probe, then the object'
csv\t'A line for each target'
markdown\t'A table'"
complete -c echod -n "__fish_echod_using_subcommand ping" -l save -d 'Write the JSON report to this file too' -r -F
complete -c echod -n "__fish_echod_using_subcommand ping" -l hdr -d 'Write the distribution of times to this file, as HdrHistogram plots it' -r -F
complete -c echod -n "__fish_echod_using_subcommand ping" -l fail-if -d 'Exit with 1 if this is true, such as \'p99>2ms || loss>0.1%\'; may be repeated' -r
complete -c echod -n "__fish_echod_using_subcommand ping" -l connect -d 'A connection for each probe: measures connect, echo and close'
complete -c echod -n "__fish_echod_using_subcommand ping" -s 4 -d 'Only IPv4 addresses of a name'
complete -c echod -n "__fish_echod_using_subcommand ping" -s 6 -d 'Only IPv6 addresses of a name'
complete -c echod -n "__fish_echod_using_subcommand ping" -l dont-fragment -d 'Set the bit that forbids routers to fragment'
complete -c echod -n "__fish_echod_using_subcommand ping" -l strict -d 'Exit with 75 if the measurement itself was not valid'
complete -c echod -n "__fish_echod_using_subcommand ping" -s q -l quiet -d 'Only the summary, and no warning'
complete -c echod -n "__fish_echod_using_subcommand ping" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c echod -n "__fish_echod_using_subcommand bench" -s d -l duration -d 'How long each round measures, and each step of --search' -r
complete -c echod -n "__fish_echod_using_subcommand bench" -l rate -d 'Open loop: send so many messages a second over all connections, on a plan that does not wait for answers' -r
complete -c echod -n "__fish_echod_using_subcommand bench" -l connections -d 'So many connections, or source ports of datagrams' -r
complete -c echod -n "__fish_echod_using_subcommand bench" -l window -d 'Closed loop: so many messages in flight on each connection' -r
complete -c echod -n "__fish_echod_using_subcommand bench" -l search -d 'Find the highest rate at which this holds, such as \'p99<1ms\'' -r
complete -c echod -n "__fish_echod_using_subcommand bench" -l idle -d 'Hold so many silent connections beside; with --compare several numbers, one row each' -r
complete -c echod -n "__fish_echod_using_subcommand bench" -l warm-up -d 'Send before the first round without measuring' -r
complete -c echod -n "__fish_echod_using_subcommand bench" -l rounds -d 'Measure so many rounds; their times are merged, and the spread of the rounds is told' -r
complete -c echod -n "__fish_echod_using_subcommand bench" -s s -l size -d 'Bytes of a message' -r
complete -c echod -n "__fish_echod_using_subcommand bench" -s W -l timeout -d 'How long a message may take; an answer that comes later is counted as late' -r
complete -c echod -n "__fish_echod_using_subcommand bench" -l compare -d 'Compare these modes of echod (also epoll-edge, with trigger "edge"), or all: each is started on a port of its own and measured in turn' -r
complete -c echod -n "__fish_echod_using_subcommand bench" -l plot -d 'Draw the latency distributions, and with --compare the cost over idle connections, as SVG' -r -F
complete -c echod -n "__fish_echod_using_subcommand bench" -l source -d 'Send from this address, and port' -r
complete -c echod -n "__fish_echod_using_subcommand bench" -l device -d 'Send through this interface' -r
complete -c echod -n "__fish_echod_using_subcommand bench" -l dscp -d 'Mark packets: 0 to 63, or a name such as EF, AF41, CS6' -r
complete -c echod -n "__fish_echod_using_subcommand bench" -l ttl -d 'Hops that packets may take' -r
complete -c echod -n "__fish_echod_using_subcommand bench" -l timestamps -d 'Which clock tells when an answer arrived: that of the kernel, where it stamps datagrams, or ours' -r -f -a "kernel\t'The kernel stamps datagrams when they arrive (SO_TIMESTAMPING, socket(7))'
user\t'The client reads the clock when it has received'"
complete -c echod -n "__fish_echod_using_subcommand bench" -s o -l output -d 'How the report is printed' -r -f -a "text\t'For people, and for parsers of ping(8)'
json\t'One object at the end'
jsonl\t'A line for each probe, then the object'
csv\t'A line for each target'
markdown\t'A table'"
complete -c echod -n "__fish_echod_using_subcommand bench" -l save -d 'Write the JSON report to this file too' -r -F
complete -c echod -n "__fish_echod_using_subcommand bench" -l hdr -d 'Write the distribution of times to this file, as HdrHistogram plots it' -r -F
complete -c echod -n "__fish_echod_using_subcommand bench" -l fail-if -d 'Exit with 1 if this is true, such as \'p99>2ms || loss>0.1%\'; may be repeated' -r
complete -c echod -n "__fish_echod_using_subcommand bench" -l spin -d 'Wait for the moment of a send on the processor: exact, and at the cost of one core'
complete -c echod -n "__fish_echod_using_subcommand bench" -l remote -d 'Measure a target that is not this machine'
complete -c echod -n "__fish_echod_using_subcommand bench" -l offload -d 'With --compare and udp://: a row more, in which the kernel echoes (key `offload`); it needs Linux 6.6 and root'
complete -c echod -n "__fish_echod_using_subcommand bench" -s 4 -d 'Only IPv4 addresses of a name'
complete -c echod -n "__fish_echod_using_subcommand bench" -s 6 -d 'Only IPv6 addresses of a name'
complete -c echod -n "__fish_echod_using_subcommand bench" -l dont-fragment -d 'Set the bit that forbids routers to fragment'
complete -c echod -n "__fish_echod_using_subcommand bench" -l strict -d 'Exit with 75 if the measurement itself was not valid'
complete -c echod -n "__fish_echod_using_subcommand bench" -s q -l quiet -d 'Only the summary, and no warning'
complete -c echod -n "__fish_echod_using_subcommand bench" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c echod -n "__fish_echod_using_subcommand selftest" -s W -l timeout -d 'How long an answer may take' -r
complete -c echod -n "__fish_echod_using_subcommand selftest" -l service -d 'The service of the servers; left out, a well-known port tells (7, 9, 13, 17, 19, 37), else it is echo' -r -f -a "echo\t''
discard\t''
chargen\t''
qotd\t''
daytime\t''
time\t''
whoami\t''"
complete -c echod -n "__fish_echod_using_subcommand selftest" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c echod -n "__fish_echod_using_subcommand status" -s c -l config -d 'The configuration of the daemon, whose table observe says where its endpoint is' -r -F
complete -c echod -n "__fish_echod_using_subcommand status" -l address -d 'The endpoint itself: 127.0.0.1:9862, or the path of its socket file' -r
complete -c echod -n "__fish_echod_using_subcommand status" -s o -l output -d 'Text for people, or the JSON of /status' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c echod -n "__fish_echod_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c echod -n "__fish_echod_using_subcommand top" -s c -l config -d 'The configuration of the daemon, whose table observe says where its endpoint is' -r -F
complete -c echod -n "__fish_echod_using_subcommand top" -l address -d 'The endpoint itself: 127.0.0.1:9862, or the path of its socket file' -r
complete -c echod -n "__fish_echod_using_subcommand top" -s i -l interval -d 'The time between two looks' -r
complete -c echod -n "__fish_echod_using_subcommand top" -l sort -d 'Which connections come first' -r -f -a "rate\t'The most bytes a second first'
rtt\t'The longest round trip first'
idle\t'The longest idle first'"
complete -c echod -n "__fish_echod_using_subcommand top" -s n -l lines -d 'How many connections are shown' -r
complete -c echod -n "__fish_echod_using_subcommand top" -s o -l output -d 'A screen that renews itself, JSON, or a line of JSON for each look' -r -f -a "text\t'For people'
json\t'One document; with --once only'
jsonl\t'One document a line'"
complete -c echod -n "__fish_echod_using_subcommand top" -l once -d 'Look twice, print what was between, and exit'
complete -c echod -n "__fish_echod_using_subcommand top" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c echod -n "__fish_echod_using_subcommand metrics" -s c -l config -d 'The configuration of the daemon, whose table observe says where its endpoint is' -r -F
complete -c echod -n "__fish_echod_using_subcommand metrics" -l address -d 'The endpoint itself: 127.0.0.1:9862, or the path of its socket file' -r
complete -c echod -n "__fish_echod_using_subcommand metrics" -l list -d 'List every metric: its name, type, labels, and what it says'
complete -c echod -n "__fish_echod_using_subcommand metrics" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c echod -n "__fish_echod_using_subcommand help; and not __fish_seen_subcommand_from explain faults ping bench selftest status top metrics help" -f -a "explain" -d 'Explain decision by decision whether a listener admits a client'
complete -c echod -n "__fish_echod_using_subcommand help; and not __fish_seen_subcommand_from explain faults ping bench selftest status top metrics help" -f -a "faults" -d 'Tell beforehand what a plan of faults will do, or what plans can do'
complete -c echod -n "__fish_echod_using_subcommand help; and not __fish_seen_subcommand_from explain faults ping bench selftest status top metrics help" -f -a "ping" -d 'Send a probe a second to an echo server, this one or any other, and tell how long each took'
complete -c echod -n "__fish_echod_using_subcommand help; and not __fish_seen_subcommand_from explain faults ping bench selftest status top metrics help" -f -a "bench" -d 'Measure how fast servers answer, and how much they can do'
complete -c echod -n "__fish_echod_using_subcommand help; and not __fish_seen_subcommand_from explain faults ping bench selftest status top metrics help" -f -a "selftest" -d 'Hold a live server, this one or any other, to the RFC of its service'
complete -c echod -n "__fish_echod_using_subcommand help; and not __fish_seen_subcommand_from explain faults ping bench selftest status top metrics help" -f -a "status" -d 'Show what a running daemon serves, and what has happened since its start'
complete -c echod -n "__fish_echod_using_subcommand help; and not __fish_seen_subcommand_from explain faults ping bench selftest status top metrics help" -f -a "top" -d 'Show the listeners of a running daemon and their connections, with rates, and renew that every second'
complete -c echod -n "__fish_echod_using_subcommand help; and not __fish_seen_subcommand_from explain faults ping bench selftest status top metrics help" -f -a "metrics" -d 'Print the metrics of a running daemon, or the list of them'
complete -c echod -n "__fish_echod_using_subcommand help; and not __fish_seen_subcommand_from explain faults ping bench selftest status top metrics help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c echod -n "__fish_echod_using_subcommand ping" -f -a "tcp:// udp:// unix: unix-seqpacket: unix-datagram:"
complete -c echod -n "__fish_echod_using_subcommand bench" -f -a "tcp:// udp:// unix: unix-seqpacket: unix-datagram:"
complete -c echod -n "__fish_echod_using_subcommand selftest" -f -a "tcp:// udp:// unix: unix-seqpacket: unix-datagram:"
