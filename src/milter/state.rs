//! Which command may follow which: the transition table.
//!
//! Refusals do not change the state. An MTA may send another MAIL after a refused one without an ABORT, or
//! another RCPT or DATA after a refused DATA.

use State::{Body, Connected, Envelope, Header, Ready, Start};

/// Where a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Before negotiation.
    Start,
    /// Negotiated; no client yet.
    Ready,
    /// A client is connected; no message is open.
    Connected,
    /// After MAIL.
    Envelope,
    /// After the first header field.
    Header,
    /// After the end of the header.
    Body,
}

/// The commands of an MTA, in the order of the columns of the transition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommandKind {
    /// `O`
    Negotiate,
    /// `D`
    Macros,
    /// `C`
    Connect,
    /// `H`
    Helo,
    /// `M`
    Mail,
    /// `R`
    Rcpt,
    /// `T`
    Data,
    /// `U`
    Unknown,
    /// `L`
    Header,
    /// `N`
    EndOfHeader,
    /// `B`
    Body,
    /// `E`
    EndOfMessage,
    /// `A`
    Abort,
    /// `Q`
    Quit,
    /// `K`
    QuitNewConnection,
}

/// The state after each command; `None` where the command may not come.
///
/// A column for each command (its byte), a row for each state. MAIL without ABORT starts afresh, HELO in a
/// message ends it. Content may follow MAIL at once: an MTA that speaks version 2 or 3 sends no DATA. The
/// header may lack its end. What would let content pass unseen may not come: content without MAIL, a header
/// field in the body.
#[rustfmt::skip]
const NEXT: [[Option<State>; CommandKind::ALL.len()]; State::ALL.len()] = {
    const NO: Option<State> = None;
    const ST: Option<State> = Some(Start);
    const RE: Option<State> = Some(Ready);
    const CO: Option<State> = Some(Connected);
    const EN: Option<State> = Some(Envelope);
    const HE: Option<State> = Some(Header);
    const BO: Option<State> = Some(Body);
    [
        //              O   D   C   H   M   R   T   U   L   N   B   E   A   Q   K
        /* Start */     [RE, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, ST, ST, ST],
        /* Ready */     [NO, RE, CO, NO, NO, NO, NO, RE, NO, NO, NO, NO, RE, ST, RE],
        /* Connected */ [NO, CO, NO, CO, EN, NO, NO, CO, NO, NO, NO, NO, CO, ST, RE],
        /* Envelope */  [NO, EN, NO, CO, EN, EN, EN, EN, HE, BO, BO, CO, CO, ST, RE],
        /* Header */    [NO, HE, NO, CO, EN, NO, NO, HE, HE, BO, BO, CO, CO, ST, RE],
        /* Body */      [NO, BO, NO, CO, EN, NO, NO, BO, NO, NO, BO, CO, CO, ST, RE],
    ]
};

impl State {
    /// Every state, in the order of the rows of the transition table.
    pub const ALL: [Self; 6] = [Start, Ready, Connected, Envelope, Header, Body];

    /// The state after `command`; `None` if it may not come now.
    pub const fn next(self, command: CommandKind) -> Option<Self> {
        NEXT[self as usize][command as usize]
    }

    /// Whether a message is open.
    pub const fn in_message(self) -> bool {
        matches!(self, Envelope | Header | Body)
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Start => "before negotiation",
            Ready => "before CONNECT",
            Connected => "outside a message",
            Envelope => "in the envelope",
            Header => "in the header",
            Body => "in the body",
        })
    }
}

impl CommandKind {
    /// Every command, in the order of the columns of the transition table.
    pub const ALL: [Self; 15] = [
        Self::Negotiate,
        Self::Macros,
        Self::Connect,
        Self::Helo,
        Self::Mail,
        Self::Rcpt,
        Self::Data,
        Self::Unknown,
        Self::Header,
        Self::EndOfHeader,
        Self::Body,
        Self::EndOfMessage,
        Self::Abort,
        Self::Quit,
        Self::QuitNewConnection,
    ];

    /// The command byte.
    pub const fn code(self) -> u8 {
        match self {
            Self::Negotiate => b'O',
            Self::Macros => b'D',
            Self::Connect => b'C',
            Self::Helo => b'H',
            Self::Mail => b'M',
            Self::Rcpt => b'R',
            Self::Data => b'T',
            Self::Unknown => b'U',
            Self::Header => b'L',
            Self::EndOfHeader => b'N',
            Self::Body => b'B',
            Self::EndOfMessage => b'E',
            Self::Abort => b'A',
            Self::Quit => b'Q',
            Self::QuitNewConnection => b'K',
        }
    }

    /// The command with this byte.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            b'O' => Self::Negotiate,
            b'D' => Self::Macros,
            b'C' => Self::Connect,
            b'H' => Self::Helo,
            b'M' => Self::Mail,
            b'R' => Self::Rcpt,
            b'T' => Self::Data,
            b'U' => Self::Unknown,
            b'L' => Self::Header,
            b'N' => Self::EndOfHeader,
            b'B' => Self::Body,
            b'E' => Self::EndOfMessage,
            b'A' => Self::Abort,
            b'Q' => Self::Quit,
            b'K' => Self::QuitNewConnection,
            _ => return None,
        })
    }
}

impl std::fmt::Display for CommandKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Negotiate => "OPTNEG",
            Self::Macros => "MACRO",
            Self::Connect => "CONNECT",
            Self::Helo => "HELO",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::Unknown => "UNKNOWN",
            Self::Header => "HEADER",
            Self::EndOfHeader => "EOH",
            Self::Body => "BODY",
            Self::EndOfMessage => "EOM",
            Self::Abort => "ABORT",
            Self::Quit => "QUIT",
            Self::QuitNewConnection => "QUIT_NC",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn rows_and_columns_are_in_order() {
        for (index, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, index);
        }
        for (index, kind) in CommandKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
        for code in 0..=u8::MAX {
            let kind = CommandKind::ALL.into_iter().find(|kind| kind.code() == code);
            assert_eq!(CommandKind::from_code(code), kind, "{code}");
        }
    }

    #[test]
    fn every_cell_of_the_table() {
        let allowed = [
            (Start, "O Ready, A Start, K Start"),
            (Ready, "C Connected, D Ready, U Ready, A Ready, K Ready"),
            (Connected, "H Connected, M Envelope, D Connected, U Connected, A Connected, K Ready"),
            (
                Envelope,
                "H Connected, M Envelope, R Envelope, T Envelope, L Header, N Body, B Body, E Connected, \
                 D Envelope, U Envelope, A Connected, K Ready",
            ),
            (
                Header,
                "H Connected, M Envelope, L Header, N Body, B Body, E Connected, \
                 D Header, U Header, A Connected, K Ready",
            ),
            (Body, "H Connected, M Envelope, B Body, E Connected, D Body, U Body, A Connected, K Ready"),
        ];
        for (state, allowed) in allowed {
            let next: HashMap<&str, &str> =
                allowed.split(", ").filter_map(|cell| cell.trim().split_once(' ')).collect();
            for kind in CommandKind::ALL {
                let code = char::from(kind.code()).to_string();
                let expected =
                    if kind == CommandKind::Quit { Some("Start") } else { next.get(&*code).copied() };
                let found = state.next(kind).map(|next| format!("{next:?}"));
                assert_eq!(found.as_deref(), expected, "{kind} {state}");
            }
        }
    }
}
