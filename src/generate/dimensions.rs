//! The values of generated traffic with their shares: tenants, regions, model versions, GPUs and
//! more.

use rand::Rng;

use super::names::Dimension;

pub(super) struct Region {
    pub name: &'static str,
    pub share: f64,
    /// Hours from UTC to local time, for the daily rhythm.
    pub utc_offset_h: f64,
    pub latency_factor: f64,
    /// Weights of GPUS, in their order.
    pub gpu_weights: [f64; 4],
    /// Weights of the languages, in the order of `vocabulary::LANGUAGES`.
    pub language_weights: [f64; 5],
}

pub(super) const REGIONS: [Region; 3] = [
    Region {
        name: "eu-west",
        share: 0.42,
        utc_offset_h: 1.0,
        latency_factor: 1.0,
        gpu_weights: [0.6, 0.4, 0.0, 0.0],
        language_weights: [0.86, 0.06, 0.03, 0.04, 0.01],
    },
    Region {
        name: "us-east",
        share: 0.38,
        utc_offset_h: -5.0,
        latency_factor: 0.95,
        gpu_weights: [0.2, 0.0, 0.5, 0.3],
        language_weights: [0.94, 0.005, 0.045, 0.005, 0.005],
    },
    Region {
        name: "ap-south",
        share: 0.20,
        utc_offset_h: 5.5,
        latency_factor: 1.15,
        gpu_weights: [0.75, 0.25, 0.0, 0.0],
        language_weights: [0.93, 0.005, 0.005, 0.01, 0.05],
    },
];

pub(super) struct ModelVersion {
    pub family: &'static str,
    pub name: &'static str,
    pub share: f64,
    /// Median milliseconds of a 30-step 1024x1024 image on an a10.
    pub base_ms: f64,
    pub aesthetic: f64,
    pub clip_i: f64,
}

pub(super) const MODEL_VERSIONS: [ModelVersion; 4] = [
    ModelVersion {
        family: "stable-diffusion",
        name: "sdxl-1.0",
        share: 0.40,
        base_ms: 5_200.0,
        aesthetic: 5.65,
        clip_i: 0.302,
    },
    ModelVersion {
        family: "stable-diffusion",
        name: "sdxl-1.1",
        share: 0.28,
        base_ms: 4_900.0,
        aesthetic: 5.80,
        clip_i: 0.309,
    },
    ModelVersion {
        family: "stable-diffusion",
        name: "sd-1.5",
        share: 0.20,
        base_ms: 3_000.0,
        aesthetic: 5.20,
        clip_i: 0.288,
    },
    ModelVersion {
        family: "flux",
        name: "flux-dev",
        share: 0.12,
        base_ms: 9_500.0,
        aesthetic: 6.05,
        clip_i: 0.319,
    },
];

pub(super) struct Gpu {
    pub name: &'static str,
    pub mem_mb: u64,
    pub latency_factor: f64,
    pub usd_per_second: f64,
}

pub(super) const GPUS: [Gpu; 4] = [
    Gpu { name: "a10", mem_mb: 24_576, latency_factor: 1.0, usd_per_second: 0.000_30 },
    Gpu { name: "l4", mem_mb: 24_576, latency_factor: 1.25, usd_per_second: 0.000_22 },
    Gpu { name: "a100", mem_mb: 81_920, latency_factor: 0.5, usd_per_second: 0.001_0 },
    Gpu { name: "h100", mem_mb: 81_920, latency_factor: 0.3, usd_per_second: 0.001_9 },
];

pub(super) const TRAFFIC_SOURCES: [(&str, f64); 3] = [("web", 0.5), ("api", 0.3), ("mobile", 0.2)];
pub(super) const SAMPLERS: [(&str, f64); 5] =
    [("dpmpp_2m_karras", 0.42), ("euler_a", 0.28), ("ddim", 0.12), ("unipc", 0.12), ("lcm", 0.06)];
/// Name, pixels relative to 1024x1024, weight.
pub(super) const RESOLUTIONS: [(&str, f64, f64); 5] = [
    ("1024x1024", 1.0, 0.48),
    ("768x1024", 0.75, 0.2),
    ("1216x832", 0.965, 0.14),
    ("512x512", 0.25, 0.12),
    ("1536x1024", 1.5, 0.06),
];
pub(super) const STEPS: [(u16, f64); 5] = [(30, 0.45), (25, 0.22), (20, 0.18), (40, 0.1), (50, 0.05)];
/// How many LoRAs exist (`lora-000` is the most used).
pub(super) const LORAS: usize = 200;

const NAMED_TENANTS: [&str; 6] = ["aurora", "birch", "cobalt", "dune", "ember", "fjord"];
/// Weights of styles per tenant, in the order of `vocabulary::STYLES`; later tenants repeat these.
const TENANT_STYLES: [[f64; 5]; 6] = [
    [0.40, 0.25, 0.20, 0.08, 0.07],
    [0.45, 0.25, 0.22, 0.04, 0.04],
    [0.20, 0.35, 0.30, 0.08, 0.07],
    [0.50, 0.20, 0.15, 0.10, 0.05],
    [0.20, 0.25, 0.15, 0.25, 0.15],
    [0.30, 0.30, 0.30, 0.05, 0.05],
];

/// Draws an index with given weights, by one 32-bit draw and a binary search.
#[derive(Debug, Clone)]
pub(super) struct Weighted {
    /// Upper ends of the shares, scaled to 2³²; the last is 2³².
    ends: Vec<u64>,
}

impl Weighted {
    pub(super) fn new(weights: impl IntoIterator<Item = f64>) -> Self {
        let weights: Vec<f64> = weights.into_iter().collect();
        let total: f64 = weights.iter().sum();
        let mut sum = 0.0;
        let mut ends: Vec<u64> = weights
            .iter()
            .map(|w| {
                sum += w;
                (sum / total * (1u64 << 32) as f64) as u64
            })
            .collect();
        // Rounding must leave no gap, and trailing values of weight zero must never be drawn.
        if let Some(last) = weights.iter().rposition(|&w| w > 0.0) {
            ends[last..].fill(1 << 32);
        }
        Self { ends }
    }

    /// Zipf weights: 1/(rank + 2)^`exponent`.
    pub(super) fn zipf(n: usize, exponent: f64) -> Self {
        Self::new((0..n).map(|rank| (rank as f64 + 2.0).powf(-exponent)))
    }

    pub(super) fn draw(&self, rng: &mut impl Rng) -> usize {
        let at = u64::from(rng.next_u32());
        self.ends.partition_point(|&end| end <= at)
    }

    fn share(&self, index: usize) -> f64 {
        let low = if index == 0 { 0 } else { self.ends[index - 1] };
        (self.ends[index] - low) as f64 / (1u64 << 32) as f64
    }
}

/// The dimensions of a session, as indices into the tables.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SessionDimensions {
    pub tenant: u16,
    pub region: u16,
    pub version: u16,
    pub source: u16,
    pub gpu: u16,
}

impl SessionDimensions {
    pub(super) fn index(&self, dimension: Dimension) -> u16 {
        match dimension {
            Dimension::Tenant => self.tenant,
            Dimension::Region => self.region,
            Dimension::ModelVersion => self.version,
            Dimension::TrafficSource => self.source,
            Dimension::GpuType => self.gpu,
        }
    }
}

/// All dimension tables with their weights, built once.
#[derive(Debug, Clone)]
pub(super) struct Tables {
    pub tenant_names: Vec<String>,
    pub tenants: Weighted,
    pub tenant_styles: [Weighted; 6],
    pub versions: Weighted,
    pub sources: Weighted,
    /// Per region.
    pub gpus: [Weighted; 3],
    /// Per region.
    pub languages: [Weighted; 3],
    pub samplers: Weighted,
    pub resolutions: Weighted,
    pub steps: Weighted,
    pub loras: Weighted,
}

impl Tables {
    pub(super) fn new(tenants: usize) -> Self {
        let name = |i: usize| match NAMED_TENANTS.get(i) {
            Some(name) => (*name).to_owned(),
            None => format!("tenant-{:02}", i + 1),
        };
        Self {
            tenant_names: (0..tenants).map(name).collect(),
            tenants: Weighted::zipf(tenants, 0.8),
            tenant_styles: TENANT_STYLES.map(Weighted::new),
            versions: Weighted::new(MODEL_VERSIONS.iter().map(|v| v.share)),
            sources: Weighted::new(TRAFFIC_SOURCES.map(|(_, w)| w)),
            gpus: REGIONS.each_ref().map(|r| Weighted::new(r.gpu_weights)),
            languages: REGIONS.each_ref().map(|r| Weighted::new(r.language_weights)),
            samplers: Weighted::new(SAMPLERS.map(|(_, w)| w)),
            resolutions: Weighted::new(RESOLUTIONS.map(|(_, _, w)| w)),
            steps: Weighted::new(STEPS.map(|(_, w)| w)),
            loras: Weighted::zipf(LORAS, 1.0),
        }
    }

    /// All values of a dimension, in table order.
    pub(super) fn values(&self, dimension: Dimension) -> Box<dyn Iterator<Item = &str> + '_> {
        match dimension {
            Dimension::Tenant => Box::new(self.tenant_names.iter().map(String::as_str)),
            Dimension::Region => Box::new(REGIONS.iter().map(|r| r.name)),
            Dimension::ModelVersion => Box::new(MODEL_VERSIONS.iter().map(|v| v.name)),
            Dimension::TrafficSource => Box::new(TRAFFIC_SOURCES.iter().map(|(name, _)| *name)),
            Dimension::GpuType => Box::new(GPUS.iter().map(|g| g.name)),
        }
    }

    pub(super) fn index_of(&self, dimension: Dimension, value: &str) -> Option<u16> {
        self.values(dimension).position(|known| known == value).map(|index| index as u16)
    }

    /// Share of a region's traffic that has this value.
    pub(super) fn share(&self, dimension: Dimension, index: u16, region: u16) -> f64 {
        let index = usize::from(index);
        match dimension {
            Dimension::Tenant => self.tenants.share(index),
            Dimension::Region => f64::from(u8::from(index == usize::from(region))),
            Dimension::ModelVersion => self.versions.share(index),
            Dimension::TrafficSource => self.sources.share(index),
            Dimension::GpuType => self.gpus[usize::from(region)].share(index),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn draws_follow_the_weights_and_never_take_a_weightless_value() {
        let weighted = Weighted::new([0.0, 3.0, 0.0, 1.0, 0.0]);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut counts = [0; 5];
        for _ in 0..40_000 {
            counts[weighted.draw(&mut rng)] += 1;
        }
        assert_eq!((counts[0], counts[2], counts[4]), (0, 0, 0));
        assert!((29_500..30_500).contains(&counts[1]), "{counts:?}");
        assert!((weighted.share(1) - 0.75).abs() < 1e-6 && weighted.share(4) == 0.0);
    }

    #[test]
    fn tenants_beyond_the_named_ones_are_numbered() {
        let tables = Tables::new(8);
        assert_eq!(tables.tenant_names[5..], ["fjord", "tenant-07", "tenant-08"]);
        assert_eq!(tables.index_of(Dimension::Tenant, "birch"), Some(1));
        assert_eq!(tables.index_of(Dimension::Tenant, "brich"), None);
    }
}
