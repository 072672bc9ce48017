//! Any text is a quota or an error that points into it; a quota's own text is the same quota.

#![no_main]

use libfuzzer_sys::fuzz_target;
use limiter_core::{Quota, QuotaError, Rate};

fuzz_target!(|text: &str| {
    match text.parse::<Quota>() {
        Ok(quota) => {
            let printed = quota.to_string();
            assert_eq!(printed.parse().as_ref(), Ok(&quota), "{printed}");
            assert_eq!(quota.rates().iter().map(|rate| rate.capacity()).min(), Some(quota.capacity()));
        }
        Err(error) => check(text, &error),
    }
    match text.parse::<Rate>() {
        Ok(rate) => assert_eq!(rate.to_string().parse(), Ok(rate)),
        Err(error) => check(text, &error),
    }
});

fn check(text: &str, error: &QuotaError) {
    assert!(!error.to_string().is_empty());
    if let QuotaError::Text { text: told, at, len, .. } = error {
        assert_eq!(told, text);
        assert!(text.get(*at..at + len).is_some(), "{at} and {len} do not point into {text:?}");
    }
}
