//! What ends the help of each command: examples and exit codes, as tables of which the manuals are made, too.

/// Of `echod status`.
pub const STATUS: &str = "\
Examples:
  echod status                           the service of this machine
  echod status -c echod.toml             the daemon that was started with this file
  echod status --address 192.0.2.7:9862  another machine, which allows it
  echod status -o json                   for programs, as /status has it

Exit codes:
  0   a daemon has answered; it may not be ready, which is said
  64  wrong command line
  69  no daemon could be asked
  77  permission denied
  78  the configuration is wrong";

/// Of `echod top`.
pub const TOP: &str = "\
Examples:
  echod top                              the service of this machine, renewed every second
  echod top -c echod.toml --sort rtt     the longest round trips first
  echod top --once -n 5                  what was within a second, and the five busiest connections
  echod top -o jsonl -i 10s              a line of JSON every ten seconds

Exit codes:
  0   it was ended by q, by a signal or after --once
  64  wrong command line
  69  no daemon could be asked, or it has ended
  77  permission denied
  78  the configuration is wrong";
