//! Quotas and rates in configuration files: as text, or spelled out.

use crate::{Algorithm, Quota, Rate};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{
        Error, MapAccess, SeqAccess, Unexpected, Visitor, value::MapAccessDeserializer, value::SeqAccessDeserializer,
    },
};
use std::{fmt, time::Duration};

impl Serialize for Quota {
    /// Writes the text form.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Rate {
    /// Writes the text form.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Algorithm {
    /// Writes the name.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quota {
    /// Reads the text form (`"sliding_log 5/s, 1000/h"`), a list of rates, or a map of `algorithm` (`gcra` where it is
    /// left out) and `rates`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(QuotaVisitor)
    }
}

impl<'de> Deserialize<'de> for Rate {
    /// Reads the text form (`"5/s"`), or a map of `limit`, `period` (text such as `"1s"`, or a number of seconds) and
    /// optionally `burst` or `resolution`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RateVisitor)
    }
}

impl<'de> Deserialize<'de> for Algorithm {
    /// Reads a name, also one of the other names of `gcra`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(AlgorithmVisitor)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuotaFields {
    #[serde(default = "gcra")]
    algorithm: Algorithm,
    rates: Vec<Rate>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RateFields {
    limit: u64,
    period: Period,
    burst: Option<u64>,
    resolution: Option<u32>,
}

fn gcra() -> Algorithm {
    Algorithm::Gcra
}

struct QuotaVisitor;

impl<'de> Visitor<'de> for QuotaVisitor {
    type Value = Quota;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a quota such as \"sliding_log 5/s, 1000/h\", a list of rates, or a map of algorithm and rates")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Quota, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Quota, A::Error> {
        Quota::gcra(Vec::deserialize(SeqAccessDeserializer::new(list))?).map_err(A::Error::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Quota, A::Error> {
        let fields = QuotaFields::deserialize(MapAccessDeserializer::new(map))?;
        Quota::new(fields.algorithm, fields.rates).map_err(A::Error::custom)
    }
}

struct RateVisitor;

impl<'de> Visitor<'de> for RateVisitor {
    type Value = Rate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rate such as \"5/s\", or a map of limit, period and optionally burst or resolution")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Rate, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Rate, A::Error> {
        let fields = RateFields::deserialize(MapAccessDeserializer::new(map))?;
        let mut rate = Rate::new(fields.limit, fields.period.0).map_err(A::Error::custom)?;
        if let Some(units) = fields.burst {
            rate = rate.burst(units).map_err(A::Error::custom)?;
        }
        if let Some(cells) = fields.resolution {
            rate = rate.resolution(cells).map_err(A::Error::custom)?;
        }
        Ok(rate)
    }
}

struct AlgorithmVisitor;

impl Visitor<'_> for AlgorithmVisitor {
    type Value = Algorithm;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("gcra, token_bucket, leaky_bucket, fixed_window, sliding_window or sliding_log")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Algorithm, E> {
        Algorithm::from_name(name).ok_or_else(|| E::invalid_value(Unexpected::Str(name), &self))
    }
}

/// A period: text such as `"1500ms"`, or whole seconds.
struct Period(Duration);

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PeriodVisitor;

        impl Visitor<'_> for PeriodVisitor {
            type Value = Period;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a period such as \"1s\", \"1500ms\" or \"day\", or a number of seconds")
            }

            fn visit_u64<E: Error>(self, seconds: u64) -> Result<Period, E> {
                Ok(Period(Duration::from_secs(seconds)))
            }

            fn visit_i64<E: Error>(self, seconds: i64) -> Result<Period, E> {
                match u64::try_from(seconds) {
                    Ok(seconds) => self.visit_u64(seconds),
                    Err(_) => Err(E::invalid_value(Unexpected::Signed(seconds), &self)),
                }
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Period, E> {
                super::text::period(text).map(Period).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(PeriodVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_form_reads_from_toml_and_json() {
        let toml: BTreeMap<String, Quota> = toml::from_str(
            r#"
            text = "sliding_log 5/s, 1000/h"
            list = ["5/s", { limit = 1000, period = "1h" }]
            map = { algorithm = "sliding_log", rates = [{ limit = 5, period = 1 }, "1000/h"] }
            burst = { algorithm = "token_bucket", rates = [{ limit = 5, period = "second", burst = 9 }] }
            cells = { algorithm = "sliding_log", rates = [{ limit = 5, period = "1500ms", resolution = 3 }] }
            "#,
        )
        .unwrap();
        assert_eq!(toml["text"], toml["map"]);
        assert_eq!(toml["list"].to_string(), "5/s, 1000/h");
        assert_eq!(toml["burst"].to_string(), "5/s burst 9");
        assert_eq!(toml["cells"].to_string(), "sliding_log 5/1500ms resolution 3");
        for quota in toml.values() {
            let json = serde_json::to_string(quota).unwrap();
            assert_eq!(&serde_json::from_str::<Quota>(&json).unwrap(), quota);
        }
    }

    #[test]
    fn errors_say_what_is_allowed_and_where() {
        for (toml, says) in [
            (r#"q = "5/fortnight""#, &["fortnight", "ms, s, min", "line 1"][..]),
            (r#"q = { algorithm = "bucket", rates = ["5/s"] }"#, &["bucket", "token_bucket", "line 1"]),
            (r#"q = { rates = [{ limit = 5, periods = 1 }] }"#, &["periods", "`limit`, `period`, `burst`"]),
            (r#"q = { rates = [{ limit = 0, period = 1 }] }"#, &["limit is 0"]),
            (r#"q = { rates = [{ limit = 5, period = -1 }] }"#, &["a number of seconds"]),
            (r#"q = { rates = [] }"#, &["at least one rate"]),
            ("q = 5", &["a quota such as"]),
        ] {
            let error = toml::from_str::<BTreeMap<String, Quota>>(toml).unwrap_err().to_string();
            for part in says {
                assert!(error.contains(part), "{error} does not say {part:?}");
            }
        }
    }
}
