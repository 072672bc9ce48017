//! The tables and routines on the server: their names, their SQL, and the statements that call them.

use crate::quota::fnv;

/// The format of what is stored. Another one has other tables, so that releases of two formats never meet.
const FORMAT: u32 = 1;

/// The longest schema or prefix, in bytes: with it every name stays within the 63 that the server tells apart.
pub(super) const LONGEST_NAME: usize = 32;

const TABLES: &str = include_str!("sql/tables.sql");

/// Routines are named after what is written in them too: two releases of one format each call their own.
const ROUTINES: [&str; 6] = [
    include_str!("sql/logs.sql"),
    include_str!("sql/cells.sql"),
    include_str!("sql/sweep.sql"),
    include_str!("sql/decide.sql"),
    include_str!("sql/adjust.sql"),
    include_str!("sql/swap.sql"),
];

/// The names in the SQL above, each between braces there.
const TABLE_NAMES: [&str; 3] = ["states", "runs", "dropped"];
const INDEX_NAMES: [&str; 2] = ["states_expiry", "runs_order"];
const ROUTINE_NAMES: [&str; 16] = [
    "adjust",
    "charge",
    "clock",
    "decide",
    "idle",
    "lasts",
    "look",
    "log_first",
    "log_refund",
    "log_view",
    "reclaim",
    "reclaim_runs",
    "refund",
    "reset",
    "swap",
    "sweep",
];

/// Every statement that the store sends, with its names in them.
#[derive(Debug)]
pub(super) struct Schema {
    /// The server's schema, as it was set.
    pub(super) name: String,
    /// Creates what is missing: one transaction, sent as one query.
    pub(super) create: String,
    /// Whether the role may read and write each of the tables.
    pub(super) rights: String,
    /// What gives a role these rights.
    grant: String,
    pub(super) decide: String,
    pub(super) adjust: String,
    pub(super) load: String,
    pub(super) swap: String,
    pub(super) reset: String,
    pub(super) sweep: String,
    pub(super) now: String,
}

impl Schema {
    pub(super) fn new(schema: &str, prefix: &str, is_unlogged: bool) -> Self {
        let names = Names::new(schema, prefix, is_unlogged);
        let fill = |template: &str| names.fill(template);
        let rights = TABLE_NAMES.map(|table| {
            let table = literal(&fill(&format!("{{{table}}}")));
            ["SELECT", "INSERT", "UPDATE", "DELETE"]
                .map(|right| format!("has_table_privilege({table}, '{right}')"))
                .join(" AND ")
        });
        Self {
            name: schema.to_owned(),
            create: [fill(include_str!("sql/begin.sql")), fill(TABLES)]
                .into_iter()
                .chain(ROUTINES.map(fill))
                .chain([fill(include_str!("sql/end.sql"))])
                .collect::<Vec<_>>()
                .join("\n"),
            rights: format!("SELECT {}", rights.join(" AND ")),
            grant: fill(
                "GRANT USAGE ON SCHEMA {schema} TO the_role;\n\
                 GRANT SELECT, INSERT, UPDATE, DELETE ON {states}, {runs}, {dropped} TO the_role;\n",
            ),
            decide: fill("CALL {decide}($1, $2, $3, $4, $5, $6, NULL, NULL, NULL)"),
            adjust: fill("CALL {adjust}($1, $2, $3, $4, $5, $6, $7, NULL, NULL, NULL)"),
            load: fill(include_str!("sql/load.sql")),
            swap: fill("CALL {swap}($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, NULL)"),
            reset: fill("CALL {reset}($1, $2)"),
            sweep: fill("CALL {sweep}($1, $2, NULL, NULL)"),
            now: fill("SELECT {clock}()"),
        }
    }

    /// The SQL for somebody with the right to create tables, and what the program's role then needs.
    pub(super) fn to_run(&self) -> String {
        let grant: String = self.grant.lines().map(|line| format!("-- {line}\n")).collect();
        format!("BEGIN;\n\n{}\nCOMMIT;\n\n-- For a role that did not run this:\n{grant}", self.create)
    }

    /// What the owner of the tables runs for a role that may not use them.
    pub(super) fn to_grant(&self) -> &str {
        &self.grant
    }
}

/// What the placeholders stand for.
struct Names(Vec<(&'static str, String)>);

impl Names {
    fn new(schema: &str, prefix: &str, is_unlogged: bool) -> Self {
        let text = [TABLES].into_iter().chain(ROUTINES).flat_map(str::bytes);
        let revision = format!("{:08x}", fnv(text) >> 32);
        let within = |name: String| format!("{}.{}", quote(schema), quote(&name));
        let mut names = vec![
            ("schema", quote(schema)),
            ("schema_text", literal(schema)),
            ("format", FORMAT.to_string()),
            ("revision", literal(&revision)),
            ("lock", (fnv(format!("{schema}.{prefix}").bytes()) >> 1).to_string()),
            ("history", within(format!("{prefix}_schema"))),
            ("body", dollars(&[schema, prefix])),
            ("unlogged", (if is_unlogged { "UNLOGGED " } else { "" }).to_owned()),
        ];
        names.extend(TABLE_NAMES.map(|table| (table, within(format!("{prefix}_{FORMAT}_{table}")))));
        names.extend(INDEX_NAMES.map(|index| (index, quote(&format!("{prefix}_{FORMAT}_{index}")))));
        names.extend(ROUTINE_NAMES.map(|routine| (routine, within(format!("{prefix}_{FORMAT}_{routine}_{revision}")))));
        Self(names)
    }

    /// `template` with each name in braces replaced; whatever else is in braces stays.
    fn fill(&self, template: &str) -> String {
        let mut filled = String::with_capacity(2 * template.len());
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let known = after.split_once('}').and_then(|(name, rest)| {
                let (_, text) = self.0.iter().find(|(known, _)| *known == name)?;
                Some((text, rest))
            });
            rest = if let Some((text, rest)) = known {
                filled.push_str(text);
                rest
            } else {
                filled.push('{');
                after
            };
        }
        filled + rest
    }
}

/// A name as SQL writes it, whatever is in it.
fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL writes it, whatever the server's settings.
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// What routines' bodies stand between: a mark that none of the names has in it.
fn dollars(names: &[&str]) -> String {
    let mut mark = "$body$".to_owned();
    while names.iter().any(|name| name.contains(&mark)) {
        mark.insert(1, '_');
    }
    mark
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placeholder_is_filled() {
        let schema = Schema::new("public", "limiter", false);
        for text in [&schema.create, &schema.load, &schema.decide, &schema.rights, &schema.grant] {
            let left: Vec<&str> = text.split('{').skip(1).filter(|rest| !rest.starts_with('}')).collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }

    #[test]
    fn names_are_quoted_and_never_read_as_placeholders() {
        let schema = Schema::new("a\"b", "{runs}$body$'\\", true);
        assert!(schema.decide.starts_with("CALL \"a\"\"b\".\"{runs}$body$'\\_1_decide_"), "{}", schema.decide);
        assert!(schema.create.contains("$_body$") && schema.create.contains("CREATE UNLOGGED TABLE"));
    }

    #[test]
    fn the_longest_names_stay_apart() {
        let (prefix, longest) = ("p".repeat(LONGEST_NAME), "reclaim_runs");
        assert!(format!("{prefix}_{FORMAT}_{longest}_01234567").len() <= 63);
    }
}
