"""The four worlds as data. No colour of a palette, no scene and no camera is in two of them."""

from fastreid_ext.data.synthetic.cameras import Camera
from fastreid_ext.data.synthetic.worlds.world import Light, Optics, Palette, Scene, World

STREET = World(
    name="street",
    palette=Palette(
        dark=((34, 30, 30), (62, 44, 34), (46, 46, 48), (78, 58, 44), (40, 48, 40)),
        middle=((112, 104, 98), (128, 96, 70), (96, 124, 130), (84, 96, 78), (140, 140, 136)),
        bright=((58, 52, 168), (168, 108, 48), (70, 170, 210), (96, 140, 66), (150, 120, 196)),
        light=((226, 228, 230), (200, 210, 216), (176, 200, 214), (220, 212, 196)),
    ),
    cuts={"tee": 6, "polo": 2, "shirt": 4, "blouse": 2, "sweater": 1.5, "hoodie": 2, "zip_hoodie": 1.5,
          "denim_jacket": 1.5, "blazer": 1.5, "bomber": 1, "dress": 1.5, "long_dress": 0.8, "rain_coat": 0.5},
    headgear=(5, 0.5, 1.5, 1), headgear_share=0.2, hood_share=0.03, scarf_share=0.03,
    light=Light(
        elevation=(0.5, 1.2), key=(0.75, 1.15), fill=(0.4, 0.6), key_colour=(0.9, 1.0, 1.08),
        fill_colour=(1.12, 1.0, 0.9), wrap=0.08, ground=0.45, folds=0.5, contact=0.55, dapple=(0.0, 0.7), back=0.3,
        gloss=0.1,
    ),
    scenes={
        "shops": Scene("facade", "paving", ((150, 164, 178), (186, 190, 186), (96, 110, 134), (70, 82, 100)),
                       ((150, 156, 160), (120, 128, 134), (176, 184, 188)), (1.5, 7.0), (0.4, 1.6)),
        "avenue": Scene("foliage", "crossing", ((36, 70, 48), (76, 140, 104), (120, 176, 150), (24, 40, 30)),
                        ((92, 92, 94), (116, 116, 116)), (2.0, 9.0), (0.6, 2.0)),
        "kerb": Scene("parked_cars", "lawn", ((130, 150, 160), (90, 104, 116), (170, 176, 176)),
                      ((60, 110, 92), (84, 140, 120)), (1.0, 5.0), (0.3, 1.2)),
    },
    cameras=(
        Camera("shops", 1.0, (1.0, 1.0, 1.0), 1.0, 0.28, 3.0, 0.9, 74, 0.05, 0.16),
        Camera("shops", 1.09, (0.96, 1.0, 1.04), 0.9, 0.4, 4.0, 0.7, 60, 0.07, 0.3),
        Camera("avenue", 0.91, (1.06, 1.01, 0.95), 1.12, 0.34, 5.0, 0.75, 66, 0.06, 0.22),
        Camera("avenue", 0.99, (0.97, 1.04, 0.99), 1.0, 0.55, 4.0, 0.55, 52, 0.08, 0.42),
        Camera("kerb", 1.06, (1.03, 0.99, 0.99), 0.95, 0.3, 3.5, 0.85, 78, 0.05, 0.1),
        Camera("kerb", 0.85, (0.99, 0.98, 1.04), 1.2, 0.45, 6.0, 0.6, 48, 0.08, 0.35),
    ),
    optics=Optics(
        haze=(0.0, 0.08), haze_colour=(214, 206, 196), motion=(0.006, 0.02), motion_share=0.15, level=104,
        exposure=(0.88, 1.14), contrast=(0.92, 1.14), coarse=(0.5, 1.1), quality=(-14, 10), vignette=(0.0, 0.3),
        distance=(3.0, 9.0), occupancy=0.32,
    ),
    tints=(0.95, 1.0, 1.04),
)  # fmt: skip

WINTER = World(
    name="winter",
    palette=Palette(
        dark=((28, 26, 25), (54, 40, 30), (38, 40, 46), (44, 52, 52), (58, 42, 50)),
        middle=((92, 90, 94), (74, 92, 116), (104, 112, 104), (88, 74, 66), (120, 130, 138)),
        bright=((64, 56, 140), (140, 92, 56), (72, 130, 170), (80, 112, 72)),
        light=((206, 206, 204), (186, 196, 204), (168, 176, 180)),
    ),
    cuts={"puffer": 4, "hooded_puffer": 4, "parka": 4, "overcoat": 3, "long_coat": 2, "rain_coat": 1.5, "bomber": 1.5,
          "vest": 1, "sweater": 1, "zip_hoodie": 1, "denim_jacket": 0.6},
    headgear=(1.5, 5, 1.5, 0.5), headgear_share=0.38, hood_share=0.3, scarf_share=0.35,
    light=Light(
        elevation=(0.6, 1.4), key=(0.12, 0.34), fill=(0.72, 0.98), key_colour=(1.0, 1.0, 1.0),
        fill_colour=(1.06, 1.0, 0.95), wrap=0.9, ground=0.3, folds=0.34, contact=0.85, dapple=(0.0, 0.3), back=0.4,
        gloss=0.0,
    ),
    scenes={
        "park": Scene("bare_trees", "snow", ((206, 204, 200), (182, 184, 186), (222, 218, 212)),
                      ((214, 210, 204), (190, 188, 186), (160, 162, 166)), (2.0, 9.0), (0.4, 1.8)),
        "campus": Scene("concrete", "cobbles", ((140, 144, 148), (116, 122, 128), (164, 166, 166)),
                        ((104, 108, 112), (130, 132, 134)), (1.0, 6.0), (0.3, 1.4)),
        "path": Scene("fence", "slush", ((66, 80, 84), (96, 108, 112), (50, 58, 62), (140, 146, 148)),
                      ((128, 134, 138), (164, 168, 170), (96, 100, 104)), (0.8, 4.0), (0.3, 1.2)),
    },
    cameras=(
        Camera("park", 1.06, (1.03, 1.0, 0.97), 0.92, 0.4, 4.0, 0.7, 64, 0.06, 0.2),
        Camera("park", 0.95, (1.07, 1.0, 0.94), 1.1, 0.6, 6.0, 0.5, 46, 0.08, 0.5),
        Camera("campus", 1.0, (0.99, 1.0, 1.01), 1.04, 0.3, 3.0, 0.95, 80, 0.05, 0.14),
        Camera("campus", 1.14, (1.01, 1.01, 0.98), 0.84, 0.45, 4.5, 0.65, 56, 0.07, 0.38),
        Camera("path", 0.87, (0.96, 1.0, 1.03), 1.16, 0.36, 7.0, 0.8, 68, 0.06, 0.08),
        Camera("path", 1.02, (1.05, 0.99, 0.98), 1.0, 0.5, 5.0, 0.6, 50, 0.09, 0.28),
    ),
    optics=Optics(
        haze=(0.04, 0.3), haze_colour=(206, 204, 200), motion=(0.006, 0.024), motion_share=0.15, level=114,
        exposure=(0.9, 1.1), contrast=(0.84, 1.04), coarse=(0.5, 1.1), quality=(-16, 12), vignette=(0.0, 0.16),
        distance=(4.0, 12.0), occupancy=0.28,
    ),
    tints=(1.02, 1.0, 0.98),
)  # fmt: skip

STATION = World(
    name="station",
    palette=Palette(
        dark=((36, 34, 36), (70, 48, 36), (48, 44, 44), (56, 60, 58), (36, 40, 62)),
        middle=((120, 116, 112), (104, 86, 76), (110, 130, 146), (132, 124, 108)),
        bright=((72, 64, 186), (188, 130, 60), (92, 190, 226), (128, 160, 84), (120, 84, 150)),
        light=((236, 234, 230), (214, 218, 220), (196, 206, 222), (206, 196, 180)),
    ),
    cuts={"shirt": 4, "tee": 2, "sweater": 2.5, "hoodie": 2, "zip_hoodie": 2, "blazer": 4, "bomber": 2, "overcoat": 2,
          "rain_coat": 1, "puffer": 1, "dress": 1, "blouse": 2, "vest": 0.6, "denim_jacket": 1, "long_coat": 0.6},
    headgear=(3, 1, 2, 0.5), headgear_share=0.16, hood_share=0.04, scarf_share=0.12,
    light=Light(
        elevation=(1.0, 1.5), key=(0.45, 0.7), fill=(0.5, 0.7), key_colour=(0.98, 1.04, 0.98),
        fill_colour=(1.0, 1.02, 0.97), wrap=0.45, ground=0.75, folds=0.42, contact=0.65, dapple=(0.0, 0.2),
        back=0.25, gloss=0.2,
    ),
    scenes={
        "passage": Scene("panels", "marble", ((196, 200, 200), (170, 178, 186), (122, 130, 136), (214, 206, 190)),
                         ((178, 184, 190), (150, 152, 156), (200, 200, 196)), (0.6, 4.0), (0.2, 1.0)),
        "entrance": Scene("glass", "checker", ((90, 96, 96), (160, 170, 170), (60, 66, 70), (204, 206, 200)),
                          ((140, 144, 146), (166, 164, 158)), (1.0, 6.0), (0.4, 1.8)),
        "platform": Scene("pillars", "rubber", ((110, 112, 110), (76, 80, 84), (150, 150, 144), (60, 72, 96)),
                          ((112, 112, 108), (136, 134, 130)), (1.0, 8.0), (0.4, 1.6)),
    },
    cameras=(
        Camera("passage", 1.04, (0.97, 1.03, 0.99), 0.96, 0.3, 5.0, 0.85, 70, 0.05, 0.34),
        Camera("passage", 0.9, (0.91, 1.0, 1.07), 1.14, 0.5, 8.0, 0.6, 50, 0.08, 0.55),
        Camera("entrance", 1.12, (1.07, 1.01, 0.93), 0.88, 0.38, 4.0, 0.75, 62, 0.06, 0.24),
        Camera("entrance", 0.81, (1.03, 1.0, 0.98), 1.22, 0.42, 9.0, 0.7, 58, 0.07, 0.12),
        Camera("platform", 0.96, (0.93, 1.01, 1.04), 1.06, 0.55, 7.0, 0.5, 44, 0.09, 0.4),
        Camera("platform", 1.01, (1.0, 1.06, 0.96), 1.0, 0.34, 6.0, 0.9, 76, 0.05, 0.18),
    ),
    optics=Optics(
        haze=(0.0, 0.12), haze_colour=(196, 204, 200), motion=(0.008, 0.035), motion_share=0.25, level=106,
        exposure=(0.86, 1.15), contrast=(0.9, 1.1), coarse=(0.5, 1.1), quality=(-14, 10), vignette=(0.0, 0.24),
        distance=(2.0, 6.0), occupancy=0.42,
    ),
    tints=(0.97, 1.03, 0.99),
)  # fmt: skip

NIGHT = World(
    name="night",
    palette=Palette(
        dark=((30, 28, 32), (58, 46, 36), (42, 40, 40), (50, 54, 46), (46, 38, 60)),
        middle=((100, 98, 96), (90, 80, 92), (96, 112, 124), (116, 100, 84), (70, 88, 104)),
        bright=((54, 48, 156), (156, 96, 52), (60, 150, 196), (84, 124, 58)),
        light=((218, 222, 226), (192, 200, 206), (210, 202, 188)),
    ),
    cuts={"hoodie": 3, "zip_hoodie": 2.5, "bomber": 3, "denim_jacket": 2, "tee": 2, "shirt": 2, "parka": 1.5,
          "puffer": 1.5, "overcoat": 1.5, "rain_coat": 2, "sweater": 1.5, "dress": 0.8, "hooded_puffer": 1,
          "blazer": 1},
    headgear=(4, 2.5, 1.5, 1), headgear_share=0.24, hood_share=0.2, scarf_share=0.1,
    light=Light(
        elevation=(0.3, 1.3), key=(0.8, 1.3), fill=(0.22, 0.42), key_colour=(0.78, 0.98, 1.14),
        fill_colour=(1.2, 1.0, 0.84), wrap=0.25, ground=0.15, folds=0.3, contact=0.6, dapple=(0.2, 0.6), back=0.35,
        gloss=0.15,
    ),
    scenes={
        "lane": Scene("lit_windows", "setts", ((34, 38, 48), (52, 56, 66), (24, 26, 30), (60, 74, 90)),
                      ((58, 64, 74), (80, 86, 92)), (1.0, 6.0), (0.5, 1.8)),
        "road": Scene("traffic", "wet_asphalt", ((30, 30, 32), (54, 52, 54), (20, 20, 24), (44, 60, 76)),
                      ((46, 48, 52), (70, 72, 74)), (2.0, 9.0), (1.0, 3.0)),
        "arcade": Scene("shutters", "deck", ((80, 84, 92), (56, 62, 72), (106, 108, 108), (50, 70, 60)),
                        ((70, 80, 96), (52, 58, 66)), (0.5, 2.5), (0.2, 0.9)),
    },
    cameras=(
        Camera("lane", 1.13, (0.9, 0.99, 1.08), 0.86, 0.4, 9.0, 0.7, 56, 0.07, 0.26),
        Camera("lane", 0.98, (1.04, 1.0, 0.96), 1.0, 0.6, 12.0, 0.5, 42, 0.09, 0.44),
        Camera("road", 1.2, (0.94, 1.0, 1.06), 0.8, 0.46, 10.0, 0.65, 50, 0.08, 0.18),
        Camera("road", 1.06, (1.0, 1.03, 0.98), 0.9, 0.36, 7.0, 0.85, 66, 0.06, 0.12),
        Camera("arcade", 1.07, (0.93, 0.97, 1.1), 0.94, 0.34, 8.0, 0.8, 72, 0.05, 0.32),
        Camera("arcade", 1.17, (1.07, 1.01, 0.93), 0.78, 0.52, 13.0, 0.55, 46, 0.08, 0.5),
    ),
    optics=Optics(
        haze=(0.0, 0.1), haze_colour=(64, 76, 84), motion=(0.01, 0.04), motion_share=0.3, level=76,
        exposure=(0.86, 1.18), contrast=(0.9, 1.14), coarse=(0.5, 1.1), quality=(-12, 10), vignette=(0.05, 0.4),
        distance=(2.5, 8.0), occupancy=0.3,
    ),
    tints=(0.6, 0.66, 0.72),
)  # fmt: skip

WORLDS = {world.name: world for world in (STREET, WINTER, STATION, NIGHT)}
