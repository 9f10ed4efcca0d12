//! An incident in one line.

use super::book::Incident;
use crate::alert::{AlertRow, number, percent, range_in_words};
use crate::event::time;
use crate::store::rows::Contributor;

/// What changed, where, by how much and since when:
/// `tenant=birch: prompts: anime 0.1 % → 1.5 % since 2026-01-17T14:00:00Z`.
#[must_use]
pub fn headline(of: &Incident) -> String {
    let place = if of.lead.segment.is_empty() { "all traffic" } else { &of.lead.segment };
    format!("{place}: {} since {}", change(&of.lead), time::text(of.since))
}

fn change(lead: &AlertRow) -> String {
    let feature = &lead.feature;
    let first = lead.contributors.first();
    match (feature.as_str(), lead.value.zip(lead.baseline_value)) {
        ("missing", _) => {
            first.map_or_else(|| "fields are missing".to_owned(), |c| format!("{} missing", moved(c)))
        }
        (_, Some((now, was))) => {
            // Only rates come without bins.
            let show =
                |x: f64| if lead.psi.is_none() && (0.0..=1.0).contains(&x) { percent(x) } else { number(x) };
            format!("{feature} {} → {}", show(was), show(now))
        }
        ("prompt_tokens", None) => {
            first.map_or_else(|| "prompts".to_owned(), |c| format!("prompts: {}", moved(c)))
        }
        (_, None) => match first {
            Some(c) if c.key.starts_with("style:") => {
                format!("images moved towards {}", &c.key["style:".len()..])
            }
            Some(c) => format!("{feature}: {}", moved(c)),
            None => feature.clone(),
        },
    }
}

fn moved(c: &Contributor) -> String {
    let key = range_in_words(&c.key)
        .unwrap_or_else(|| c.key.chars().filter(|c| !c.is_control()).take(40).collect());
    format!("{key} {} → {}", percent(c.baseline_share), percent(c.share))
}
