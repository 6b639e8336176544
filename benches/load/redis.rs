//! Greylists in Redis: beside `redis-benchmark` running the same script, and several Greylags on one Cluster.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use crate::daemon::{Daemon, Home};
use crate::mail::{DOMAINS, KNOWN, Triplet};
use crate::policy::Smtpd;
use crate::report::{Row, Target};
use crate::support::process;
use crate::support::redis::{Cluster, Redis};
use crate::{Args, measure};

/// Connections of `redis-benchmark`, as the target names them.
const CLIENTS: &str = "16";
/// What `redis-benchmark` replaces by a number of as many digits, another one each time.
const RANDOM: &[u8] = b"__rand_int__";
/// Numbers it chooses from. It reads this as an `int`, and takes one too large for none: each decision would be about the same triplet.
const NUMBERS: &str = "2000000000";
/// Greylags that share a Cluster: one for each core here.
const GREYLAGS: usize = 2;

/// New triplets by the policy protocol, beside what the script alone can do.
pub(crate) fn alone(args: &Args, dns: SocketAddr) -> io::Result<Row> {
    let redis = Redis::start("");
    let home = Home::new();
    let greylag = Daemon::start(&home, dns, Some(&redis.url()));
    let next = Rc::new(Cell::new(KNOWN));
    let time = Duration::from_secs_f64(args.seconds);
    let asking = |ports: &[u16]| new_triplets(args.connections, time, ports, &next);
    let script = one_decision(redis.port(), greylag.ports.policy, &next)?;
    let mut rounds = Vec::new();
    for _ in 0..args.rounds {
        let decisions = asking(&[greylag.ports.policy])?;
        rounds.push((decisions, benchmark(redis.port(), &script, decisions * args.seconds * 2.0)?));
    }
    rounds.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
    let (decisions, scripts) = rounds[rounds.len() / 2];
    Ok(Row {
        case: "",
        greylag: decisions,
        nothing: Some(scripts),
        unit: "requests/s",
        target: Target::AtLeast(0.5),
    })
}

/// New triplets of several Greylags that share a Cluster of so many shards.
pub(crate) fn cluster(args: &Args, dns: SocketAddr, shards: usize) -> io::Result<Row> {
    let cluster = Cluster::of(shards);
    let homes: Vec<Home> = (0..GREYLAGS).map(|_| Home::new()).collect();
    let greylags: Vec<Daemon> =
        homes.iter().map(|home| Daemon::start(home, dns, Some(&cluster.url()))).collect();
    let ports: Vec<u16> = greylags.iter().map(|greylag| greylag.ports.policy).collect();
    let next = Rc::new(Cell::new(KNOWN));
    let time = Duration::from_secs_f64(args.seconds);
    let mut rates = Vec::new();
    for _ in 0..args.rounds {
        rates.push(new_triplets(args.connections, time, &ports, &next)?);
    }
    rates.sort_by(f64::total_cmp);
    let greylag = rates[rates.len() / 2];
    Ok(Row { case: "", greylag, nothing: None, unit: "requests/s", target: Target::None })
}

/// Requests a second about triplets never seen before, over connections spread over `ports`. Each has to be greylisted.
fn new_triplets(connections: usize, time: Duration, ports: &[u16], next: &Rc<Cell<u64>>) -> io::Result<f64> {
    measure::closed(connections, time, |connection| {
        let (next, mut smtpd) = (Rc::clone(next), None);
        let port = ports[connection % ports.len()];
        async move || {
            let smtpd = match &mut smtpd {
                Some(smtpd) => smtpd,
                empty => empty.insert(Smtpd::connect(port).await?),
            };
            let triplet = Triplet::new(next.replace(next.get() + 1), DOMAINS);
            let action = smtpd.ask(&triplet).await?;
            assert!(action.starts_with("DEFER"), "{triplet:?}: {action}");
            Ok(1)
        }
    })
}

/// The command by which Greylag asks Redis about a new triplet, as the server itself shows it: with the text of the script.
fn one_decision(redis: u16, policy: u16, next: &Cell<u64>) -> io::Result<Vec<Vec<u8>>> {
    let ask = || {
        let triplet = Triplet::new(next.replace(next.get() + 1), DOMAINS);
        measure::run(async { Smtpd::connect(policy).await?.ask(&triplet).await.map(drop) })?
    };
    // The first ones find no look-up answered. The last finds no script, and so sends it.
    (0..5).try_for_each(|_| ask())?;
    let mut monitor = TcpStream::connect(process::loopback(redis))?;
    monitor.set_read_timeout(Some(Duration::from_secs(10)))?;
    monitor.write_all(b"MONITOR\r\n")?;
    let mut lines = BufReader::new(monitor);
    lines.read_line(&mut String::new())?;
    command(redis, &[b"SCRIPT", b"FLUSH"])?;
    ask()?;
    loop {
        let mut line = String::new();
        lines.read_line(&mut line)?;
        let words = words(&line);
        if words.first().is_some_and(|word| word.eq_ignore_ascii_case(b"EVAL")) {
            return Ok(words);
        }
    }
}

/// The words of a line of MONITOR: quoted as in C, with `\xHH` for what is not printable and has no letter.
fn words(line: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut rest = line.bytes();
    while rest.by_ref().any(|byte| byte == b'"') {
        let mut word = Vec::new();
        loop {
            match rest.next() {
                None | Some(b'"') => break,
                Some(b'\\') => match rest.next() {
                    Some(b'x') => {
                        let digits: String = rest.by_ref().take(2).map(char::from).collect();
                        word.push(u8::from_str_radix(&digits, 16).unwrap_or_default());
                    }
                    Some(b'n') => word.push(b'\n'),
                    Some(b'r') => word.push(b'\r'),
                    Some(b't') => word.push(b'\t'),
                    Some(b'a') => word.push(7),
                    Some(b'b') => word.push(8),
                    Some(other) => word.push(other),
                    None => break,
                },
                Some(byte) => word.push(byte),
            }
        }
        words.push(word);
    }
    words
}

/// Scripts a second by `redis-benchmark`, which runs the decision with another end of each key every time.
fn benchmark(port: u16, decision: &[Vec<u8>], requests: f64) -> io::Result<f64> {
    let keys: usize =
        decision.get(2).and_then(|count| std::str::from_utf8(count).ok()?.parse().ok()).unwrap_or(0);
    let [_, text, command_line @ .., numbers] = decision else {
        return Err(io::Error::other("Redis showed no decision"));
    };
    // A command line holds no NUL: hashes of printable bytes are as good, but numbers have to be what they are, so the script has them.
    let numbers: String = numbers.iter().map(|byte| format!("\\{byte:03}")).collect();
    let place = command_line.len() - keys;
    let script = [format!("ARGV[{place}] = '{numbers}'\n").as_bytes(), text].concat();
    let hash = command(port, &[b"SCRIPT", b"LOAD", &script])?;
    let words = command_line.iter().enumerate().map(|(at, word)| {
        let mut word = word.clone();
        if (1..=keys).contains(&at) {
            let kept = word.len().saturating_sub(RANDOM.len()).max(b"greylag:{0123}p".len());
            word.truncate(kept);
            word.extend_from_slice(RANDOM);
        }
        let printable = |byte: u8| if (b'!'..=b'~').contains(&byte) { char::from(byte) } else { 'x' };
        word.into_iter().map(printable).collect::<String>()
    });
    let before = keys_in(port)?;
    let output = Command::new(process::program("redis-benchmark"))
        .args(["-p", &port.to_string(), "-c", CLIENTS, "-P", "1", "--csv", "-r", NUMBERS])
        .args(["-n", &format!("{requests:.0}"), "EVALSHA", &hash])
        .args(words)
        .output()?;
    let made = keys_in(port)? - before;
    if made < requests {
        return Err(io::Error::other(format!("{requests:.0} scripts made {made:.0} keys: not new triplets")));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // "the command","requests a second", and six latencies; the command may hold whatever it likes.
    let rate = text.lines().last().and_then(|line| line.rsplit("\",\"").nth(6));
    let rate = rate.and_then(|rate| rate.trim_matches('"').parse().ok());
    rate.ok_or_else(|| io::Error::other(format!("redis-benchmark said {text:?}")))
}

/// How many keys there are: each new triplet makes some.
fn keys_in(port: u16) -> io::Result<f64> {
    command(port, &[b"DBSIZE"])?.parse().map_err(io::Error::other)
}

/// The answer of Redis, where it is one line.
fn command(port: u16, words: &[&[u8]]) -> io::Result<String> {
    let mut stream = TcpStream::connect(process::loopback(port))?;
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend([format!("${}\r\n", word.len()).as_bytes(), word, b"\r\n"].concat());
    }
    stream.write_all(&bytes)?;
    let mut lines = BufReader::new(stream).lines();
    let mut line = || lines.next().unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()));
    let first = line()?;
    match first.split_at_checked(1) {
        Some(("$", _)) => line(),
        Some(("+" | ":", rest)) => Ok(rest.to_owned()),
        _ => Err(io::Error::other(format!("Redis said {first:?}"))),
    }
}
