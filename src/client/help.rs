//! What ends the help of each command: examples and exit codes, as tables of which the manuals are made, too.

/// Of `echod ping`.
pub const PING: &str = "\
Examples:
  echod ping udp://192.0.2.7:7           a probe a second until Ctrl-C
  echod ping -c 5 tcp://[2001:db8::7]:7 unix:/run/echod/echod.sock
                                         five to each, side by side
  echod ping --flows 16 udp://192.0.2.7:7
                                         over 16 source ports: is one path dead?
  echod ping --connect -c 10 tcp://192.0.2.7:7
                                         connect, echo and close by themselves
  echod ping -q -c 100 -i 20ms --fail-if 'loss>1% || p50>5ms' udp://192.0.2.7:7
                                         a check for scripts

Exit codes:
  0    answers came from every server, and no condition of --fail-if is true
  1    a condition of --fail-if is true
  64   wrong command line
  68   a host name is unknown
  69   a server did not answer at all (ping(8) has 1 for that)
  71   a socket of this machine failed
  74   a file or the report cannot be written
  75   --strict: the measurement was not valid
  77   permission denied
  130  a second Ctrl-C (143: SIGTERM); the first ends it with a summary";

/// Of `echod bench`.
pub const BENCH: &str = "\
Examples:
  echod bench --rate 20k --connections 50 tcp://127.0.0.1:7777
                                         open loop: sends on a plan
  echod bench --connections 50 --window 4 tcp://127.0.0.1:7777
                                         closed loop: as fast as answers come
  echod bench --search 'p99<1ms' udp://127.0.0.1:7777
                                         the highest rate that holds
  echod bench --connections 50 --idle 900 tcp://127.0.0.1:7777
                                         with 900 more that are silent
  echod bench --compare epoll,threading --idle 0,1000
                                         modes of echod beside each other
  echod bench --rate 1k --fail-if 'p99>2ms || loss>0.1%' tcp://127.0.0.1:7777
                                         a check for scripts
  echod bench --remote --rate 500 udp://192.0.2.7:7
                                         another machine, which you may load

Exit codes:
  0    answers came, and no condition of --fail-if is true
  1    a condition of --fail-if is true
  64   wrong command line
  68   a host name is unknown
  69   nobody answered
  71   a socket of this machine failed
  74   a file or the report cannot be written
  75   --strict: the measurement was not valid
  77   permission denied
  130  a second Ctrl-C (143: SIGTERM); the first ends it with a summary";

/// Of `echod selftest`.
pub const SELFTEST: &str = "\
Examples:
  echod selftest tcp://192.0.2.7:7 udp://192.0.2.7:7
                                         an echo server, by its well-known port
  echod selftest --service chargen udp://127.0.0.1:7019
                                         another port, another service
  echod selftest -W 5s unix:/run/echod/echod.sock
                                         a server that takes its time

Exit codes:
  0   every server is as the RFC of its service says
  1   something is not
  64  wrong command line
  68  a host name is unknown
  69  nobody answered
  74  the report cannot be written";
