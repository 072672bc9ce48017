//! What every client asks before it sends a request, and tells the answer of.
//!
//! Nothing else decides. [`Limits::run`] sends a request, and follows where it is sent on to. For each hop, [`Limits::ask`]
//! finds the request's limiter and key and waits for its turn; the [`Ticket`] it gives sends the request, as a [`Transport`]
//! says how, is told the answer, or that there is none, and sends again what was refused:
//!
//! ```text
//! ticket = limits.ask(request, extensions)          None: not limited
//! ticket.send(request, transport)
//!     loop
//!         spare = a clone of the request, if ticket.may_resend() and it can be cloned
//!         send
//!             failed:    ticket.failed()
//!             answered:  ticket.answered(the URL that answered, status, headers, is there a spare?)
//!                            None: pass the answer on        a ticket: send the spare with it
//! ```
//!
//! [`Limits::run`]: crate::Limits
//! [`Limits::ask`]: crate::Limits

mod answer;
mod ask;
mod redirect;
mod ticket;
mod transport;
mod turn;

pub(crate) use ask::NotSent;
pub(crate) use redirect::Hop;
pub(crate) use ticket::Ticket;
pub(crate) use transport::{Head, Transport, of_reqwest};
