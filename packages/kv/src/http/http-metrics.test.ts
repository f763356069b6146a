import { expect, it } from "vitest";
import type { RaftMetrics } from "keelson";
import { fakeServing } from "../test/serving.ts";
import { HttpMetrics } from "./http-metrics.ts";

/** The lines of a scrape that begin with this name. */
async function scraped(metrics: HttpMetrics, figures: RaftMetrics, name: string): Promise<string[]> {
  const text = await metrics.text(figures);
  return text.split("\n").filter((line) => line.startsWith(name));
}

it("the histogram of writes counts each write in its bucket and in all larger ones", async () => {
  const { node } = await fakeServing();
  const metrics = new HttpMetrics();
  for (const seconds of [0, 0.0005, 0.0006, 0.25, 10, 11]) metrics.wrote(seconds);
  const lines = await scraped(metrics, node.metrics(), "keelson_write_seconds");
  const counts = lines.slice(0, 14).map((line) => Number(line.split(" ")[1]));
  expect(counts).toEqual([2, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 5]);
  expect(lines.slice(0, 2)).toEqual([
    'keelson_write_seconds_bucket{le="0.0005"} 2',
    'keelson_write_seconds_bucket{le="0.001"} 3',
  ]);
  expect(lines.slice(14)).toEqual([
    'keelson_write_seconds_bucket{le="+Inf"} 6',
    "keelson_write_seconds_sum 21.2511",
    "keelson_write_seconds_count 6",
  ]);
});

it("requests are counted by method, route and status, and each scrape shows the total so far", async () => {
  const { node } = await fakeServing();
  const metrics = new HttpMetrics();
  metrics.answered("PUT", "/kv/:key", 200);
  metrics.answered("PUT", "/kv/:key", 200);
  metrics.answered("GET", "/kv/:key", 404);
  const name = "keelson_http_requests_total";
  const put = `${name}{method="PUT",route="/kv/:key",status="200"}`;
  const get = `${name}{method="GET",route="/kv/:key",status="404"}`;
  expect(await scraped(metrics, node.metrics(), name)).toEqual([`${put} 2`, `${get} 1`]);
  metrics.answered("PUT", "/kv/:key", 200);
  expect(await scraped(metrics, node.metrics(), name)).toEqual([`${put} 3`, `${get} 1`]);
});
