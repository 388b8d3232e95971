//! The binary: command line, run, exit code. An error is printed here, once.

use std::process::ExitCode;

use echod::{
    command::cli::Cli,
    daemon::{fork_server, run},
    report::{
        error::{Exit, Failure},
        logging,
    },
};

fn main() -> ExitCode {
    let ended = run();
    logging::finish();
    match ended {
        Ok(code) => code,
        Err(failure) => {
            if failure.message.is_empty() {
                // It was printed already.
                return failure.exit.into();
            }
            let name = if failure.is_cited() { "" } else { "echod: " };
            logging::print_error(&format!("{name}{failure}"));
            failure.exit.into()
        }
    }
}

fn run() -> Result<ExitCode, Failure> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == fork_server::FLAG) {
        let [daemon, descriptors] = [arguments.next(), arguments.next()].map(Option::unwrap_or_default);
        fork_server::main(&daemon.to_string_lossy(), &descriptors.to_string_lossy())?;
        return Ok(ExitCode::SUCCESS);
    }
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) if logging::stderr_is_journal() && error.use_stderr() => {
            logging::print_error(&error.to_string());
            return Ok(Exit::Usage.into());
        }
        Err(error) => {
            let _ = error.print();
            return Ok(if error.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS });
        }
    };
    run::run(&cli)?;
    Ok(ExitCode::SUCCESS)
}
