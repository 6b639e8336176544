//! `greylag explain --from-log`: decision lines of a log, judged once more.

use std::io::{self, BufRead, Write};

use super::against::Two;
use super::{Args, Basis, ByDaemon, write};
use crate::admin::control::Request;
use crate::cli::Exit;
use crate::explain::explain_logged;
use crate::telemetry::LoggedDecision;

/// Judges the line that is given, or those of standard input.
pub(super) fn run(args: &Args, line: &str, out: &mut dyn Write, errors: &mut dyn Write) -> io::Result<Exit> {
    let lines: Box<dyn Iterator<Item = io::Result<Vec<u8>>>> = match line {
        "-" => Box::new(io::stdin().lock().split(b'\n')),
        line => Box::new(std::iter::once(Ok(line.as_bytes().to_vec()))),
    };
    let two = match &args.against {
        None => None,
        Some(directory) => match Two::read(args, directory, errors)? {
            Ok(two) => Some(two),
            Err(exit) => return Ok(exit),
        },
    };
    let mut basis: Option<Basis> = None;
    let (mut read, mut found) = (0_usize, false);
    for line in lines {
        let line = line?;
        let Some(decision) = LoggedDecision::parse(&String::from_utf8_lossy(&line)) else { continue };
        if let Some(two) = &two {
            let comparison = match two.compare_logged(&decision) {
                Ok(comparison) => comparison,
                Err(why) => return no_decision(&why, errors),
            };
            read += 1;
            found |= comparison.differs;
            write(&comparison, args.json, out)?;
            continue;
        }
        let request = Request::ExplainLogged { decision: decision.clone() };
        let alone_only = args.policies.is_some() || basis.is_some();
        let explanation = match args.by_daemon(alone_only, &request, &[], errors) {
            Ok(ByDaemon::Answered(mut explanation)) => {
                explanation.notes.push("judged by the policy of the running daemon".to_owned());
                *explanation
            }
            Ok(ByDaemon::NotAsked(_)) => {
                let basis = match &mut basis {
                    Some(basis) => basis,
                    none => match Basis::read(args, errors)? {
                        Ok(read) => none.insert(read),
                        Err(exit) => return Ok(exit),
                    },
                };
                match explain_logged(&decision, &basis.policy) {
                    Ok(mut explanation) => {
                        explanation.notes.push(basis.judged_by());
                        explanation
                    }
                    Err(why) => return no_decision(&why, errors),
                }
            }
            Err(exit) => return Ok(exit),
        };
        read += 1;
        found |= explanation.refuses();
        write(&explanation, args.json, out)?;
    }
    if read == 0 {
        writeln!(
            errors,
            "greylag explain: there is no decision line of Greylag; each has `decision protocol=`"
        )?;
        return Ok(Exit::NoInput);
    }
    Ok(if found { Exit::Findings } else { Exit::Success })
}

fn no_decision(why: &str, errors: &mut dyn Write) -> io::Result<Exit> {
    writeln!(errors, "greylag explain: the line is no decision of Greylag: {why}")?;
    Ok(Exit::NoInput)
}
