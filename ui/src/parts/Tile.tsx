import { useEffect, useState } from "preact/hooks";
import { thumbnail, type Side } from "../app/api";
import { Gate } from "../logic/gate";
import type { Picture } from "../api.types";

const gate = new Gate();

/** A thumbnail that waits its turn, and gives it up when it scrolls away. */
export function Thumbnail({ of, tile }: { of: Pick<Picture, "id" | "v">; tile: number }) {
  const [src, setSrc] = useState<string | null>(null);
  const [leave, setLeave] = useState<{ now: () => void } | null>(null);
  const address = thumbnail(of, sideFor(tile));
  useEffect(() => {
    const out = gate.enter(() => setSrc(address));
    setLeave({ now: out });
    return () => {
      out();
      setSrc(null);
    };
  }, [address]);
  if (src === null) return null;
  return (
    <img
      src={src} alt="" decoding="async" draggable={false} width={tile} height={tile}
      onLoad={() => leave?.now()} onError={() => leave?.now()}
    />
  );
}

function sideFor(tile: number): Side {
  const pixels = tile * (globalThis.devicePixelRatio || 1);
  return pixels <= 96 ? 96 : pixels <= 192 ? 192 : 384;
}
