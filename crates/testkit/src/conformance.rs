//! Suites that a piece of the stack must pass, to run on your own: plain async functions, one per promise, and a macro that
//! makes ordinary tests of them.
//!
//! * [`connector`](mod@connector): a platform's client, by [`connector_conformance!`](crate::connector_conformance) and
//!   [`paging_conformance!`](crate::paging_conformance).
//! * [`layer`](mod@layer): a layer of one's own, by [`layer_conformance!`](crate::layer_conformance).
//! * [`transport`](mod@transport): what sends the attempts, by [`transport_conformance!`](crate::transport_conformance).
//!
//! A case panics with a message that says which promise is broken and by which operation. Time is a
//! [`ManualClock`](martlet_base::ManualClock) wherever there is no socket: the hours of retries and quota take seconds.

pub mod connector;
pub mod layer;
pub mod transport;
mod wire;

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_cases {
    ($module:ident, $suite:ident, $make:ident: $($case:ident,)+) => {
        mod $module {
            use super::$make as make_subject;
            $(
                #[tokio::test]
                async fn $case() {
                    $crate::conformance::$suite::$case(make_subject()).await;
                }
            )+
        }
    };
}
