//! Tests for records that are sessions of their own: PSI against χ² (F1).
//!
//! Without drift PSI is about (1/n + 1/m)·χ²(B−1). That holds only for independent records.
//! Requests that share a session are not independent; for them use `session_test`.

use super::tails::{chi2_sf, ncx2_sf};

/// P-value of a PSI over `bins` bins between samples of `n` and `m` independent records, under no
/// drift. `None` where a sample is empty, there are fewer than two bins, or the PSI is not a number
/// ≥ 0.
pub fn psi_p_value(psi: f64, bins: usize, n: u64, m: u64) -> Option<f64> {
    material_p_value(psi, bins, n, m, 0.0)
}

/// P-value of a PSI under a drift that is still tolerated: non-central χ²(B−1) with λ =
/// tolerated/(1/n + 1/m). Small means not only significant but material. `tolerated` is a PSI; 0
/// asks for any drift at all. `None` as for [`psi_p_value`], and where `tolerated` is not a finite
/// number ≥ 0.
pub fn material_p_value(psi: f64, bins: usize, n: u64, m: u64, tolerated: f64) -> Option<f64> {
    if n == 0 || m == 0 || bins < 2 || psi.is_nan() || psi < 0.0 {
        return None;
    }
    if !tolerated.is_finite() || tolerated < 0.0 {
        return None;
    }
    let unit = 1.0 / n as f64 + 1.0 / m as f64;
    let freedom = (bins - 1) as f64;
    Some(if tolerated > 0.0 {
        ncx2_sf(psi / unit, freedom, tolerated / unit)
    } else {
        chi2_sf(psi / unit, freedom)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::fixture::{assert_agrees, number};
    use super::*;

    #[test]
    fn p_values_agree_with_the_reference() {
        let fixture: Value =
            serde_json::from_str(include_str!("../../../../fixtures/statistics/tails.json")).unwrap();
        for case in fixture["iid"].as_array().unwrap() {
            let whole = |key| case[key].as_u64().unwrap();
            let (psi, bins) = (number(case, "psi"), whole("bins") as usize);
            let (n, m) = (whole("n"), whole("m"));
            let plain = psi_p_value(psi, bins, n, m).unwrap();
            assert_agrees(plain, number(case, "p"), &case.to_string());
            let material = material_p_value(psi, bins, n, m, number(case, "tolerated")).unwrap();
            assert_agrees(material, number(case, "material"), &case.to_string());
        }
    }

    #[test]
    fn without_data_there_is_no_p_value() {
        assert_eq!(psi_p_value(0.1, 10, 0, 5), None);
        assert_eq!(psi_p_value(0.1, 1, 5, 5), None);
        assert_eq!(psi_p_value(f64::NAN, 10, 5, 5), None);
        assert_eq!(material_p_value(0.1, 10, 5, 5, f64::NAN), None);
    }

    #[test]
    fn a_tolerated_drift_is_not_significant_however_large_the_samples() {
        let (n, m) = (50_000_000, 5_000_000);
        assert!(psi_p_value(0.01, 10, n, m).unwrap() < 1e-100);
        assert!(material_p_value(0.01, 10, n, m, 0.05).unwrap() > 0.999);
        assert!(material_p_value(0.06, 10, n, m, 0.05).unwrap() < 1e-6);
    }
}
