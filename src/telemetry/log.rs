//! The log: one event a line on standard error, as logfmt-like text or as JSON. Who says something never waits until it is written
//! (`lines`). Decisions are many, and take a quicker way than other events.
//!
//! INFO is one line for each decision and for what an operator did, WARN what the daemon recovered from, ERROR what an operator has
//! to act on. Whatever comes from outside is escaped, in both formats.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use thiserror::Error;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use super::decision::DecisionLine;
use super::escape::{write_text, write_value};
use super::form::{Json, Logfmt};
use super::kept::{Record, Words};
use super::lines::Lines;
use super::said::Said;
use crate::config::{LogFormat, LogLevel};
use crate::store::Timestamp;

/// Follows the time of a decision in JSON.
const JSON_HEAD: &str = "\",\"level\":\"INFO\",\"target\":\"greylag::decision\",\"message\":\"decision\"";

/// How long the end of the process may wait for the log.
const FLUSHING: Duration = Duration::from_secs(5);

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `2026-11-23T12:00:00.000000Z INFO decision protocol=milter stage=rcpt …`
    Text,
    /// One object a line: `time`, `level`, `target`, `message`, then the fields of the event.
    Json,
}

impl From<LogFormat> for Format {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Logfmt => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// Why there is no log.
#[derive(Debug, Error)]
pub enum LogError {
    /// It was started before.
    #[error("the log is set up already")]
    AlreadySetUp,
    /// There is no thread for it.
    #[error("the log cannot be started: {0}")]
    NoThread(#[from] io::Error),
}

/// The lines of this process, once there is a log.
static LINES: OnceLock<Arc<Lines>> = OnceLock::new();

/// Where decisions are logged, if they are.
static DECISIONS: OnceLock<Arc<Lines>> = OnceLock::new();

/// Starts the log of this process on standard error, without colours. `level` is that of Greylag itself; libraries speak from WARN
/// on.
///
/// # Errors
///
/// When another log was started before, or the system has no thread for it.
pub fn init(format: Format, level: LevelFilter) -> Result<(), LogError> {
    let lines = Lines::start(format, io::stderr())?;
    tracing_subscriber::registry()
        .with(layer(format, level, SystemTime, Arc::clone(&lines)))
        .try_init()
        .map_err(|_| LogError::AlreadySetUp)?;
    if level >= LevelFilter::INFO {
        DECISIONS.get_or_init(|| Arc::clone(&lines));
    }
    LINES.get_or_init(|| lines);
    Ok(())
}

/// Waits until everything that was logged is written, or for some seconds where the log takes no lines: for the end of the process.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush(FLUSHING);
    }
}

/// Logs a decision at INFO: all of it as it is written, or what is its own and what it shares.
pub(super) fn decision(bytes: &[u8], shared: Option<&Arc<Said>>) {
    if let Some(lines) = DECISIONS.get() {
        lines.push(bytes, shared);
    }
}

impl Format {
    /// Appends the lines of a decision.
    pub(super) fn write(self, Record { made, said }: &Record<'_>, dates: &mut Dates, out: &mut Vec<u8>) {
        match said {
            Words::Own(_) => {
                let Some(said) = said.read() else { return };
                for line in DecisionLine::all(&said) {
                    self.begin(made.at, dates, out);
                    match self {
                        Self::Text => line.write(made, &mut Logfmt(out)),
                        Self::Json => line.write(made, &mut Json(out)),
                    }
                    self.end(out);
                }
            }
            Words::Shared(said) => {
                for line in said.lines(self) {
                    self.begin(made.at, dates, out);
                    match self {
                        Self::Text => made.write_with(line.parts(), &mut Logfmt(out)),
                        Self::Json => made.write_with(line.parts(), &mut Json(out)),
                    }
                    self.end(out);
                }
            }
        }
    }

    fn begin(self, at: Timestamp, dates: &mut Dates, out: &mut Vec<u8>) {
        match self {
            Self::Text => {
                dates.write(at, out);
                out.extend_from_slice(b" INFO decision");
            }
            Self::Json => {
                out.extend_from_slice(b"{\"time\":\"");
                dates.write(at, out);
                out.extend_from_slice(JSON_HEAD.as_bytes());
            }
        }
    }

    fn end(self, out: &mut Vec<u8>) {
        match self {
            Self::Text => out.push(b'\n'),
            Self::Json => out.extend_from_slice(b"}\n"),
        }
    }
}

/// Writes moments as other lines of the log have them (RFC 3339). Many fall into one second, whose date is made once.
#[derive(Debug, Default)]
pub(super) struct Dates {
    second: Option<u64>,
    date: String,
}

impl Dates {
    fn write(&mut self, at: Timestamp, out: &mut Vec<u8>) {
        let (second, millis) = (at.as_millis() / 1_000, at.as_millis() % 1_000);
        if self.second != Some(second) {
            self.second = Some(second);
            self.date = date(second);
        }
        out.extend_from_slice(self.date.as_bytes());
        let digit = |of: u64| b'0' + (of % 10) as u8;
        out.extend_from_slice(&[b'.', digit(millis / 100), digit(millis / 10), digit(millis)]);
        out.extend_from_slice(b"000Z");
    }
}

/// Date and time of a second since 1970.
fn date(second: u64) -> String {
    let mail_parser::DateTime { year, month, day, hour, minute, second, .. } =
        mail_parser::DateTime::from_timestamp(i64::try_from(second).unwrap_or_default());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

fn layer<S>(
    format: Format,
    level: LevelFilter,
    time: impl FormatTime + Send + Sync + 'static,
    writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static,
) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let targets =
        Targets::new().with_default(level.min(LevelFilter::WARN)).with_target(env!("CARGO_PKG_NAME"), level);
    tracing_subscriber::fmt::layer()
        .event_format(LineFormat { format, time })
        .with_writer(writer)
        .with_filter(targets)
}

struct LineFormat<T> {
    format: Format,
    time: T,
}

impl<S, N, T> FormatEvent<S, N> for LineFormat<T>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
    T: FormatTime,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        match self.format {
            Format::Text => {
                self.time.format_time(&mut out)?;
                write!(out, " {} ", metadata.level())?;
                let mut fields = TextFields::default();
                event.record(&mut fields);
                let mut text = Vec::new();
                write_text(&mut text, fields.message.as_bytes());
                text.extend(fields.rest);
                // All is printable ASCII now.
                out.write_str(&String::from_utf8_lossy(&text))?;
            }
            Format::Json => {
                let mut time = String::new();
                self.time.format_time(&mut Writer::new(&mut time))?;
                write!(out, "{{\"time\":\"{time}\",\"level\":\"{}\"", metadata.level())?;
                write!(out, ",\"target\":{}", json(metadata.target()))?;
                let mut fields = JsonFields { out: &mut out, result: Ok(()) };
                event.record(&mut fields);
                fields.result?;
                out.write_str("}")?;
            }
        }
        writeln!(out)
    }
}

/// Collects ` key=value` after the message, which comes last where it has arguments.
#[derive(Default)]
struct TextFields {
    message: String,
    rest: Vec<u8>,
}

impl Visit for TextFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        match field.name() {
            "message" => self.message = value,
            name => {
                self.rest.push(b' ');
                self.rest.extend_from_slice(name.as_bytes());
                self.rest.push(b'=');
                write_value(&mut self.rest, value.as_bytes());
            }
        }
    }
}

struct JsonFields<'out, 'writer> {
    out: &'out mut Writer<'writer>,
    result: fmt::Result,
}

impl JsonFields<'_, '_> {
    fn member(&mut self, field: &Field, value: &dyn fmt::Display) {
        if self.result.is_ok() {
            self.result = write!(self.out, ",\"{}\":{value}", field.name());
        }
    }
}

impl Visit for JsonFields<'_, '_> {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.member(field, &json(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.member(field, &json(&format!("{value:?}")));
    }
}

fn json(text: &str) -> serde_json::Value {
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Protocol;
    use crate::facts::{Facts, Stage};
    use crate::filter::Slot;
    use crate::reason::Reason;
    use crate::telemetry::kept::Kept;
    use crate::telemetry::record::{Decision, Made};
    use crate::verdict::{Finding, Outcome, Verdict};
    use std::sync::Mutex;
    use std::time::Duration;

    struct Noon;

    impl FormatTime for Noon {
        fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
            out.write_str("2026-11-23T12:00:00.000000Z")
        }
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, level: LevelFilter, log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = layer(format, level, Noon, move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// A decision in the log: all of it by itself, or what is said of it shared.
    fn written(format: Format, verdict: &Verdict, is_shared: bool) -> String {
        let facts = Facts { helo: Some("x\ny".into()), ..Facts::default() };
        let decision = Decision {
            transaction: 1,
            at: Timestamp::from_millis(1_795_435_200_012),
            took: Duration::from_micros(7),
            protocol: Protocol::Policy,
            stage: Stage::Data,
            facts: &facts,
            verdict,
            helo_dns: &Slot::NotAsked,
            spf: &Slot::NotAsked,
            identities: &[],
        };
        let Decision { transaction, at, took, protocol, stage, .. } = decision;
        let made = Made { transaction, at, took, protocol, stage, queue_id: None };
        let mut bytes = Vec::new();
        let shared = is_shared.then(|| Arc::new(decision.said()));
        match &shared {
            Some(_) => made.write(&mut bytes),
            None => decision.write(&mut bytes),
        }
        let mut kept = Kept::default();
        kept.push(&bytes, shared.as_ref());
        let mut out = Vec::new();
        kept.records().for_each(|record| format.write(&record, &mut Dates::default(), &mut out));
        let lines = memchr::memchr_iter(b'\n', &out).count() as u64;
        assert_eq!(
            Kept::lines_of(&bytes, shared.as_ref()),
            lines,
            "as many as are counted if they are dropped"
        );
        String::from_utf8(out).unwrap()
    }

    fn decision_in(format: Format) -> String {
        written(format, &Verdict::default(), false)
    }

    #[test]
    fn a_decision_is_one_line_of_text() {
        assert_eq!(
            decision_in(Format::Text),
            "2026-11-23T12:00:00.012000Z INFO decision protocol=policy stage=data queue_id=- client=unknown \
             client_name=- helo=\"x\\ny\" sender=- recipients=- action=accept reason=- reply=- helo_dns=- \
             spf=- identities=- login=- tls=- micros=7 mode=enforce detail=-\n"
        );
    }

    #[test]
    fn a_decision_is_one_flat_json_object() {
        let line = decision_in(Format::Json);
        assert!(
            line.starts_with(
                "{\"time\":\"2026-11-23T12:00:00.012000Z\",\"level\":\"INFO\",\
                 \"target\":\"greylag::decision\",\"message\":\"decision\",\"protocol\":\"policy\",\
                 \"stage\":\"data\","
            ),
            "{line}"
        );
        assert_eq!(line.find('\n'), Some(line.len() - 1));
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["helo"], "x\ny");
        assert_eq!(json["micros"], 7);
        assert_eq!(json.as_object().unwrap().len(), 4 + 19);
    }

    #[test]
    fn what_is_shared_is_logged_as_what_is_not() {
        let finding = |reason, detail: &str| Finding { reason, outcome: Outcome::Tag, detail: detail.into() };
        let verdict = Verdict {
            findings: vec![finding(Reason::HeloNoAddress, "saw \"x\"\n")],
            would: vec![finding(Reason::HeloMissing, ""), finding(Reason::HeloNoAddress, "z")],
            edits: Vec::new(),
        };
        for format in [Format::Text, Format::Json] {
            for (verdict, lines) in [(&Verdict::default(), 1), (&verdict, 3)] {
                let own = written(format, verdict, false);
                assert_eq!(own.lines().count(), lines);
                assert_eq!(written(format, verdict, true), own);
            }
        }
    }

    fn log_an_event() {
        tracing::warn!(peer = %"a\nb=c", count = 3_u64, ok = true, why = "no \"way\"", "cannot {}", "go\non");
    }

    #[test]
    fn other_events_are_escaped_too() {
        assert_eq!(
            logged(Format::Text, LevelFilter::INFO, log_an_event),
            "2026-11-23T12:00:00.000000Z WARN cannot go\\non peer=\"a\\nb=c\" count=3 ok=true \
             why=\"no \\\"way\\\"\"\n"
        );
        let line = logged(Format::Json, LevelFilter::INFO, log_an_event);
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "time": "2026-11-23T12:00:00.000000Z", "level": "WARN", "target": "greylag::telemetry::log::tests",
                "message": "cannot go\non", "peer": "a\nb=c", "count": 3, "ok": true, "why": "no \"way\"",
            })
        );
    }

    #[test]
    fn the_level_is_ours_and_libraries_speak_from_warn_on() {
        let log = || {
            tracing::debug!("ours");
            tracing::info!(target: "hyper::proto", "of a library");
            tracing::warn!(target: "hyper::proto", "alarm");
        };
        let levels = |level| -> Vec<String> {
            let text = logged(Format::Text, level, log);
            text.lines().map(|line| line.split_once("Z ").unwrap().1.to_owned()).collect()
        };
        assert_eq!(levels(LevelFilter::DEBUG), ["DEBUG ours", "WARN alarm"]);
        assert_eq!(levels(LevelFilter::INFO), ["WARN alarm"]);
        assert_eq!(levels(LevelFilter::ERROR), Vec::<String>::new());
    }
}
