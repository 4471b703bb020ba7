import type { Place } from "@tandem-call/sdk";
import { type MessageKey, t } from "./words.svelte.ts";

/** The mean radius of the Earth, in metres (IUGG). */
const radius = 6_371_008.8;
const radians = (degrees: number) => (degrees * Math.PI) / 180;

/** Longitude and latitude of a place, in degrees. */
export function position(p: Place): [lon: number, lat: number] {
  return [p.geometry.coordinates[0] ?? 0, p.geometry.coordinates[1] ?? 0];
}

/** Whether a message's body has a place that can be shown. */
export function isPlace(x: unknown): x is Place {
  const c = (x as Place | undefined)?.geometry?.coordinates;
  const within = (i: number, most: number) => {
    const n = c?.[i];
    return typeof n === "number" && Math.abs(n) <= most;
  };
  return (
    Array.isArray(c) &&
    within(0, 180) &&
    within(1, 90) &&
    typeof (x as Place).properties === "object"
  );
}

/** The distance over ground, in metres (haversine). */
export function distance(a: Place, b: Place): number {
  const [lon1, lat1] = position(a).map(radians) as [number, number];
  const [lon2, lat2] = position(b).map(radians) as [number, number];
  const h =
    Math.sin((lat2 - lat1) / 2) ** 2 +
    Math.cos(lat1) * Math.cos(lat2) * Math.sin((lon2 - lon1) / 2) ** 2;
  return 2 * radius * Math.asin(Math.min(1, Math.sqrt(h)));
}

/** In which direction one sets out from a to b, in degrees clockwise from north. */
export function bearing(a: Place, b: Place): number {
  const [lon1, lat1] = position(a).map(radians) as [number, number];
  const [lon2, lat2] = position(b).map(radians) as [number, number];
  const y = Math.sin(lon2 - lon1) * Math.cos(lat2);
  const x =
    Math.cos(lat1) * Math.sin(lat2) - Math.sin(lat1) * Math.cos(lat2) * Math.cos(lon2 - lon1);
  return ((Math.atan2(y, x) * 180) / Math.PI + 360) % 360;
}

const directions = ["n", "ne", "e", "se", "s", "sw", "w", "nw"] as const;

/** The point of the compass that is nearest to an angle. */
export function direction(degrees: number): (typeof directions)[number] {
  return directions[Math.round((((degrees % 360) + 360) % 360) / 45) % 8] ?? "n";
}

/** A length as people say it: "35 m", "1.2 km". */
export function metres(m: number, language: string): string {
  const far = m >= 1000;
  const n = far ? m / 1000 : m >= 100 ? Math.round(m / 10) * 10 : m;
  return new Intl.NumberFormat(language, {
    style: "unit",
    unit: far ? "kilometer" : "meter",
    unitDisplay: "short",
    maximumFractionDigits: far && n < 100 ? 1 : 0,
  }).format(n);
}

/** Where a place is, in words: its address, or its coordinates, and how exactly that is known. */
export function inWords(p: Place, language: string): string {
  const [lon, lat] = position(p);
  const degrees = (n: number, positive: MessageKey, negative: MessageKey) =>
    t(n < 0 ? negative : positive, {
      degrees: new Intl.NumberFormat(language, { maximumFractionDigits: 4 }).format(Math.abs(n)),
    });
  const { address, accuracy_m: accuracy } = p.properties;
  const where =
    address || `${degrees(lat, "place.n", "place.s")} ${degrees(lon, "place.e", "place.w")}`;
  return accuracy ? t("place.within", { where, distance: metres(accuracy, language) }) : where;
}

/** How far and in which direction b is from a: "1.2 km to the north-east". */
export function awayInWords(a: Place, b: Place, language: string): string {
  const far = distance(a, b);
  const within = (a.properties.accuracy_m ?? 0) + (b.properties.accuracy_m ?? 0);
  return far <= within || far < 1
    ? t("place.near")
    : t(`place.away.${direction(bearing(a, b))}`, { distance: metres(far, language) });
}

/** How fast and whereto somebody moves; empty for who does not, or does not say. */
export function movingInWords(p: Place, language: string): string {
  const { speed_mps: speed, heading_deg: heading } = p.properties;
  if (speed === undefined || speed < 0.5) {
    return "";
  }
  const kmh = new Intl.NumberFormat(language, {
    style: "unit",
    unit: "kilometer-per-hour",
    unitDisplay: "short",
    maximumFractionDigits: 0,
  }).format(speed * 3.6);
  return heading === undefined ? kmh : t(`place.moves.${direction(heading)}`, { speed: kmh });
}

/** The place in the address of a mapping service, which has {lat} and {lon} in it. */
export function atService(pattern: string, p: Place): string {
  const [lon, lat] = position(p);
  return pattern.replaceAll("{lat}", lat.toFixed(6)).replaceAll("{lon}", lon.toFixed(6));
}

/** What the browser measured, as a GeoJSON Feature. */
export function measured({ coords, timestamp }: GeolocationPosition): Place {
  const known = (n: number | null): n is number => n !== null && Number.isFinite(n) && n >= 0;
  const { longitude, latitude, altitude, accuracy, speed, heading } = coords;
  return {
    type: "Feature",
    geometry: {
      type: "Point",
      coordinates: [longitude, latitude, ...(altitude === null ? [] : [altitude])],
    },
    properties: {
      accuracy_m: accuracy,
      time: new Date(timestamp).toISOString(),
      ...(known(speed) && { speed_mps: speed }),
      ...(known(heading) && { heading_deg: heading }),
    },
  };
}
