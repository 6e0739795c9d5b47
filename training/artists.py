"""Words that mean pictures: artists, media and movements, each with the pictures that show it.

The text encoder learns to give for such a word what the projection gives for its pictures
(training/train_words.py). A pattern is the beginning of a file's name in the folder of pictures.
"""

from __future__ import annotations

from typing import NamedTuple


class Word(NamedTuple):
    """The first name of each language is the one that is shown to people."""

    english: list[str]
    chinese: list[str]
    pictures: list[str]


WORDS: dict[str, Word] = {
    # artists
    "klimt": Word(["Klimt", "gustav klimt", "the kiss"], ["克里姆特", "古斯塔夫克里姆特"], ["gustav-klimt"]),
    "mucha": Word(["Mucha", "alphonse mucha"], ["穆夏", "阿尔丰斯穆夏"], ["alphonse-mucha"]),
    "schiele": Word(["Schiele", "egon schiele"], ["席勒", "埃贡席勒"], ["egon-schiele"]),
    "seurat": Word(["Seurat", "georges seurat", "pointillism", "pointillist"], ["修拉", "点彩派", "点彩"],
                   ["georges-seurat", "paul-signac", "henri-edmond-cross"]),
    "gauguin": Word(["Gauguin", "paul gauguin"], ["高更", "保罗高更"], ["paul-gauguin"]),
    "cezanne": Word(["Cezanne", "paul cezanne", "cézanne"], ["塞尚", "保罗塞尚"], ["paul-cezanne"]),
    "degas": Word(["Degas", "edgar degas"], ["德加", "埃德加德加"], ["edgar-degas"]),
    "manet": Word(["Manet", "edouard manet", "édouard manet"], ["马奈", "爱德华马奈"], ["edouard-manet"]),
    "matisse": Word(["Matisse", "henri matisse", "fauvism", "fauvist", "derain"], ["马蒂斯", "野兽派", "德兰"],
                    ["henri-matisse", "andre-derain"]),
    "modigliani": Word(["Modigliani", "amedeo modigliani"], ["莫迪利亚尼", "莫迪里阿尼"], ["amedeo-modigliani"]),
    "delaunay": Word(["Delaunay", "robert delaunay", "orphism"], ["德劳内", "罗贝尔德劳内"], ["robert-delaunay"]),
    "marc": Word(["Franz Marc", "blue horse", "der blaue reiter"], ["弗朗茨马尔克", "马尔克", "青骑士"],
                 ["franz-marc"]),
    "kirchner": Word(["Kirchner", "ernst ludwig kirchner", "die brücke"], ["基希纳", "桥社"], ["ernst-ludwig-kirchner"]),
    "boccioni": Word(["Boccioni", "umberto boccioni", "futurism", "futurist"], ["博乔尼", "未来主义"],
                     ["umberto-boccioni", "luigi-russolo"]),
    "malevich": Word(["Malevich", "kazimir malevich"], ["马列维奇", "卡济米尔马列维奇"], ["kazimir-malevich"]),
    "redon": Word(["Redon", "odilon redon", "symbolism", "symbolist"], ["雷东", "象征主义"], ["odilon-redon"]),
    "moreau": Word(["Moreau", "gustave moreau"], ["莫罗", "古斯塔夫莫罗"], ["gustave-moreau"]),
    "rousseau": Word(["Rousseau", "henri rousseau", "naive art"], ["卢梭", "亨利卢梭", "朴素派"], ["henri-rousseau"]),
    "turner": Word(["Turner", "j m w turner", "william turner"], ["透纳", "威廉透纳"], ["j-m-w-turner"]),
    "friedrich": Word(["Caspar David Friedrich", "friedrich", "romanticism", "romantic painting"],
                      ["弗里德里希", "浪漫主义"], ["caspar-david-friedrich"]),
    "constable": Word(["Constable", "john constable"], ["康斯太勃尔", "康斯特布尔"], ["john-constable"]),
    "delacroix": Word(["Delacroix", "eugene delacroix"], ["德拉克罗瓦", "欧仁德拉克罗瓦"], ["eugene-delacroix"]),
    "goya": Word(["Goya", "francisco de goya", "francisco goya"], ["戈雅", "弗朗西斯科戈雅"], ["francisco-de-goya"]),
    "caravaggio": Word(["Caravaggio", "chiaroscuro"], ["卡拉瓦乔", "明暗对照法"], ["caravaggio"]),
    "rubens": Word(["Rubens", "peter paul rubens"], ["鲁本斯", "彼得保罗鲁本斯"], ["peter-paul-rubens"]),
    "bosch": Word(["Bosch", "hieronymus bosch"], ["博斯", "希罗尼穆斯博斯"], ["hieronymus-bosch"]),
    "bruegel": Word(["Bruegel", "pieter bruegel", "brueghel"], ["勃鲁盖尔", "老勃鲁盖尔"], ["pieter-bruegel"]),
    "durer": Word(["Dürer", "albrecht durer", "durer"], ["丢勒", "阿尔布雷希特丢勒"], ["albrecht-duerer"]),
    "giotto": Word(["Giotto", "fresco"], ["乔托", "湿壁画", "壁画"], ["giotto"]),
    "michelangelo": Word(["Michelangelo", "sistine chapel"], ["米开朗基罗", "西斯廷教堂"], ["michelangelo"]),
    "blake": Word(["William Blake", "blake"], ["威廉布莱克", "布莱克"], ["william-blake"]),
    "aivazovsky": Word(["Aivazovsky", "ivan aivazovsky"], ["艾瓦佐夫斯基", "伊凡艾瓦佐夫斯基"], ["ivan-aivazovsky"]),
    "levitan": Word(["Levitan", "isaac levitan"], ["列维坦", "伊萨克列维坦"], ["isaac-levitan"]),
    "roerich": Word(["Roerich", "nicholas roerich"], ["列里赫", "尼古拉列里赫", "罗伊里奇"], ["nicholas-roerich"]),
    "toulouse_lautrec": Word(["Toulouse-Lautrec", "toulouse lautrec", "lautrec"], ["劳特雷克", "图卢兹劳特累克"],
                             ["henri-de-toulouse"]),
    "whistler": Word(["Whistler", "james mcneill whistler"], ["惠斯勒", "惠斯特"], ["james-mcneill"]),
    "homer": Word(["Winslow Homer"], ["温斯洛霍默", "霍默"], ["winslow-homer"]),
    "sorolla": Word(["Sorolla", "joaquin sorolla"], ["索罗利亚", "索罗拉"], ["joaquin-sorolla"]),
    "haeckel": Word(["Haeckel", "ernst haeckel", "kunstformen der natur"], ["海克尔", "恩斯特海克尔"], ["ernst-haeckel"]),
    "potter": Word(["Beatrix Potter", "peter rabbit"], ["碧雅翠丝波特", "彼得兔"], ["beatrix-potter"]),
    "tenniel": Word(["Tenniel", "john tenniel", "engraving", "wood engraving"], ["坦尼尔", "版刻", "雕版"],
                    ["john-tenniel", "dalziel"]),
    "morris": Word(["William Morris", "arts and crafts wallpaper"], ["威廉莫里斯", "莫里斯"], ["william-morris"]),
    "schwitters": Word(["Schwitters", "collage", "dada"], ["施维特斯", "拼贴", "达达"], ["kurt-schwitters", "john-bingley"]),
    "shen_zhou": Word(["Shen Zhou", "song dynasty landscape", "fan kuan"], ["沈周", "范宽", "宋代山水"],
                      ["shen-zhou", "fan-kuan", "guo-xi", "li-tang"]),
    # media and movements
    "stained_glass": Word(["stained glass", "church window"], ["彩色玻璃", "彩绘玻璃", "教堂花窗"],
                          ["anonymous-canterbury", "anonymous-leon", "anonymous-theodosius", "john-la-farge"]),
    "manuscript": Word(["illuminated manuscript", "book of kells", "medieval manuscript"], ["泥金手抄本", "中世纪手稿", "手抄本"],
                       ["anonymous-armenian", "anonymous-book-of-kells", "anonymous-bamberg", "anonymous-moralized",
                        "limbourg"]),
    "tapestry": Word(["tapestry", "bayeux tapestry"], ["挂毯", "壁毯"], ["anonymous-bayeux"]),
    "embroidery": Word(["embroidery", "silk brocade", "qing textile"], ["刺绣", "织锦", "缂丝"],
                       ["anonymous-qing", "anonymous-cushion", "anonymous-kesi", "anonymous-textile"]),
    "pre_raphaelite": Word(["Pre-Raphaelite", "rossetti", "millais", "waterhouse"], ["拉斐尔前派", "罗塞蒂", "米莱"],
                           ["dante-gabriel", "john-everett", "john-william"]),
    "realism": Word(["realism", "courbet", "millet", "barbizon"], ["现实主义", "库尔贝", "米勒", "巴比松"],
                    ["gustave-courbet", "jean-francois", "camille-corot"]),
}  # fmt: skip
